"""Guards subwords: text comes back, what cannot be spelled is named, and sizes that do not work are told."""

import base64
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from sonorant.asr.decode import Token, words
from sonorant.asr.fusion import FusionConfig, fusion
from sonorant.asr.subwords import Subwords, VocabularyConfig, learn, load_vocabulary
from sonorant.asr.vocabulary import Vocabulary, VocabularyError
from sonorant.config import ConfigError, convert
from sonorant.data.manifest import Clip, read
from sonorant.lm import arpa
from sonorant.lm.kneser_ney import estimate
from sonorant.lm.model import Backoff
from sonorant.lm.neural import Network, Neural, NeuralConfig

pytest.importorskip("sentencepiece")
SPEECH = Path(__file__).parents[1] / "fixtures" / "speech" / "manifest.jsonl"
TEXTS = [clip.text for clip in read(SPEECH) if clip.text and clip.text.isascii()]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def vocabulary(request):
    return learn(TEXTS, VocabularyConfig(kind=request.param, size=60))


def test_texts_come_back_from_fewer_labels(vocabulary):
    assert len(vocabulary) == 60
    labels = [vocabulary.encode(text) for text in TEXTS]
    for text, each in zip(TEXTS, labels, strict=True):
        assert vocabulary.decode(each) == vocabulary.normalise(text)
        assert all(0 < label < 60 for label in each)
    assert sum(map(len, labels)) < 0.8 * sum(len(vocabulary.normalise(text)) for text in TEXTS)
    assert vocabulary.encode("") == []


def test_the_same_texts_give_the_same_subwords(vocabulary):
    assert learn(TEXTS, VocabularyConfig(kind=vocabulary.kind, size=60)) == vocabulary
    assert learn(TEXTS[5:], VocabularyConfig(kind=vocabulary.kind, size=60)) != vocabulary


def test_what_cannot_be_spelled_is_named_or_skipped(vocabulary):
    clip = Clip(id="clip-7", path="x.flac", text="the ß cat")
    with pytest.raises(VocabularyError, match=r"clip-7: 'ß' \(U\+00DF, LATIN SMALL LETTER SHARP S\)"):
        vocabulary.labels(clip)
    assert vocabulary.decode(vocabulary.labels(clip, skip_unknown=True)) == "the cat"
    for label in (0, 60, -1):
        with pytest.raises(VocabularyError, match=f"label {label} is not between 1 and 59"):
            vocabulary.decode([label])


def test_what_is_saved_is_loaded(vocabulary, tmp_path):
    path = tmp_path / "vocabulary.json"
    vocabulary.save(path)
    loaded = load_vocabulary(path)
    assert loaded == vocabulary
    assert loaded.pieces == vocabulary.pieces
    characters = Vocabulary.of(["abc"])
    characters.save(path)
    assert load_vocabulary(path) == characters


def test_files_that_are_no_vocabulary_are_named(vocabulary, tmp_path):
    path = tmp_path / "vocabulary.json"
    vocabulary.save(path)
    content = json.loads(path.read_text())
    cut = base64.b64encode(base64.b64decode(content["model"])[:-3]).decode()
    for changes in ({"model": cut}, {"model": "?"}, {"model": ""}, {"kind": None, "normalisation": "upper"}):
        path.write_text(json.dumps(content | changes))
        with pytest.raises(VocabularyError, match=r"vocabulary\.json: not a vocabulary"):
            load_vocabulary(path)
    with pytest.raises(VocabularyError, match=r"missing\.json: cannot be read"):
        load_vocabulary(tmp_path / "missing.json")


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_sizes_that_the_texts_do_not_give_are_told_with_one_that_they_give(kind):
    def error(size, texts=("ab ab", "abc")):
        with pytest.raises(VocabularyError) as told:
            learn(texts, VocabularyConfig(kind=kind, size=size))
        return str(told.value)

    most = re.fullmatch(
        rf"vocabulary.size: 500: the transcripts give (\d+) {kind} subwords at most \(set it to \1 or less\)",
        error(500),
    )
    assert len(learn(["ab ab", "abc"], VocabularyConfig(kind=kind, size=int(most[1])))) == int(most[1])
    least = re.fullmatch(
        r"vocabulary.size: 4: the transcripts have more characters \(set it to (\d+) or more\)", error(4)
    )
    assert len(learn(["ab ab", "abc"], VocabularyConfig(kind=kind, size=int(least[1])))) == int(least[1])
    assert "no word to learn" in error(9, texts=["", "..."])


def test_a_size_belongs_to_subwords():
    for settings in ({"size": 9}, {"kind": "unigram"}):
        with pytest.raises(ConfigError, match="size belongs to unigram and bpe"):
            convert(settings, VocabularyConfig)
    assert learn(["ab"], VocabularyConfig()) == Vocabulary.of(["ab"])


def test_a_word_starts_at_a_piece_that_starts_with_a_space(vocabulary):
    text = "the conference is now closed"
    labels = vocabulary.encode(text)
    tokens = [Token(label, place, place + 1, 0.5) for place, label in enumerate(labels)]
    found = list(words(tokens, vocabulary, 1.0))
    assert [word.text for word in found] == text.split()
    assert found[-1].end == len(labels)
    assert all(one.end <= two.start for one, two in pairwise(found))


@pytest.mark.parametrize("kind", ["words", "characters", "neural"])
def test_a_language_model_adds_to_pieces_what_it_adds_to_their_characters(tmp_path, vocabulary, kind):
    sentences = [text.split() for text in map(vocabulary.normalise, TEXTS)]
    if kind != "words":
        sentences = [list("\u2581".join(each)) for each in sentences]
    if kind == "neural":
        torch.manual_seed(1)
        config = NeuralConfig(characters=("\u2581", *vocabulary.characters), normalisation="none", dim=8)
        model = Neural(Network(config), config)
    else:
        arpa.write(tmp_path / "lm.arpa", estimate(sentences, 3))
        model = Backoff(tmp_path / "lm.arpa")
    spelled = Vocabulary(vocabulary.characters)
    totals = []
    for each in (vocabulary, spelled):
        scorer = fusion(each, model, hot_words=["conference"], config=FusionConfig())
        state, total = scorer.start, 0.0
        for label in each.encode("the conference is not here"):
            scorer.ready([state, scorer.start])
            total += scorer.added(state)[label]
            state = scorer.step(state, label)
        totals.append(total + scorer.end(state))
    assert totals[0] == pytest.approx(totals[1], abs=1e-5 if kind == "neural" else 1e-9)


def test_a_model_whose_first_piece_is_a_letter_is_refused(vocabulary):
    with pytest.raises(VocabularyError, match="not a model of sentencepiece"):
        Subwords("unigram", b"xx")
