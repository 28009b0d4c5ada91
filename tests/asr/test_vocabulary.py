"""Guards the vocabulary: text goes in and comes out, in any script, and what does not fit is named."""

import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonorant.asr.vocabulary import Vocabulary, VocabularyError
from sonorant.data.manifest import Clip

quick = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@quick
@given(st.lists(st.text()), st.sampled_from(["lower_alnum", "none"]))
def test_a_text_comes_back_normalised(texts, normalisation):
    vocabulary = Vocabulary.of(texts, normalisation=normalisation)
    for text in texts:
        labels = vocabulary.encode(text)
        assert vocabulary.decode(labels) == vocabulary.normalise(text)
        assert all(0 < label < len(vocabulary) for label in labels)


@quick
@given(st.text(), st.sampled_from(["lower_alnum", "none"]))
def test_normalising_twice_changes_nothing(text, normalisation):
    vocabulary = Vocabulary((), normalisation)
    once = vocabulary.normalise(text)
    assert vocabulary.normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)


@quick
@given(st.lists(st.text()), st.text())
def test_skipping_unknown_characters_always_gives_a_normalised_text(texts, text):
    vocabulary = Vocabulary.of(texts)
    kept = vocabulary.decode(vocabulary.encode(text, skip_unknown=True))
    assert kept == " ".join(kept.split())


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("You couldn\N{RIGHT SINGLE QUOTATION MARK}t pilot -- really!", "you couldn't pilot really"),
        ("Été  à\tNîmes", "été à nîmes"),
        ("e\N{COMBINING ACUTE ACCENT}", "é"),
        ("Привет, мир!", "привет мир"),
        ("हिन्दी।", "हिन्दी"),
        ("co\N{SOFT HYPHEN}operate 42%", "cooperate 42"),
        ("مرحبا؟", "مرحبا"),
        (
            "  It\N{LEFT SINGLE QUOTATION MARK}s a-OK: <Koff> “42”,\tnaïve...Yes!",
            "it's a ok koff 42 naïve yes",
        ),
        ("rock\N{GREEK OXIA}n\N{MODIFIER LETTER APOSTROPHE}roll", "rock'n'roll"),
        ("...", ""),
    ],
)
def test_letters_digits_and_apostrophes_of_any_script_stay(text, normalised):
    assert Vocabulary(()).normalise(text) == normalised


def test_labels_are_blank_space_and_then_the_characters_in_order():
    vocabulary = Vocabulary.of(["bad cab"])
    assert vocabulary.characters == ("a", "b", "c", "d")
    assert len(vocabulary) == 6
    assert vocabulary.encode("Bad cab") == [3, 2, 5, 1, 4, 2, 3]
    assert vocabulary.decode([4, 1, 2]) == "c a"


def test_an_unknown_character_is_named_with_its_clip():
    vocabulary = Vocabulary.of(["abc"])
    clip = Clip(id="clip-7", path="x.flac", text="a ß c")
    with pytest.raises(VocabularyError, match=r"clip-7: 'ß' \(U\+00DF, LATIN SMALL LETTER SHARP S\)"):
        vocabulary.labels(clip)
    assert vocabulary.decode(vocabulary.labels(clip, skip_unknown=True)) == "a c"
    with pytest.raises(VocabularyError, match="clip-8: has no text"):
        vocabulary.labels(Clip(id="clip-8", path="x.flac"))


def test_labels_that_stand_for_no_character_are_refused():
    for label in (0, 5, -1):
        with pytest.raises(VocabularyError, match=f"label {label} is not between 1 and 4"):
            Vocabulary.of(["abc"]).decode([label])


def test_what_is_saved_is_loaded(tmp_path):
    path = tmp_path / "vocabulary.json"
    vocabulary = Vocabulary.of(["naïve Ünïcödé", "日本"], normalisation="none")
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    assert [each.name for each in tmp_path.iterdir()] == ["vocabulary.json"]


@pytest.mark.parametrize(
    "content",
    [
        "not JSON",
        "[]",
        "{}",
        '{"normalisation": "upper", "characters": []}',
        '{"normalisation": "none", "characters": ["ab"]}',
        '{"normalisation": "none", "characters": ["a", "a"]}',
        '{"normalisation": "none", "characters": [" "]}',
        '{"normalisation": "none", "characters": [1]}',
    ],
)
def test_a_file_that_is_no_vocabulary_is_named(tmp_path, content):
    path = tmp_path / "vocabulary.json"
    path.write_text(content, encoding="utf8")
    with pytest.raises(VocabularyError, match=r"vocabulary\.json: not a vocabulary"):
        Vocabulary.load(path)
    with pytest.raises(VocabularyError, match="cannot be read"):
        Vocabulary.load(tmp_path / "missing.json")
