"""Guards known texts on their audio: times, scores, and words that cannot be written."""

import numpy as np
import pytest

from sonorant.asr.known import fit, unspelled
from sonorant.asr.textgrid import textgrid
from sonorant.asr.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of(["abc d"])
SAID = {2: "a", 4: "b", 5: "b", 8: " ", 10: "c", 13: "d"}  # "ab cd", by frame


@pytest.fixture
def frames():
    """20 frames, each sure of its label at 0.82."""
    rows = np.full((20, len(VOCABULARY)), 0.18 / (len(VOCABULARY) - 1))
    for frame in range(20):
        (label,) = VOCABULARY.encode(SAID[frame]) if SAID.get(frame, " ") != " " else [int(frame == 8)]
        rows[frame, label] = 0.82
    return np.log(rows)


def test_words_and_characters_stand_on_their_frames(frames):
    found = fit(frames, VOCABULARY.encode("ab cd"), VOCABULARY, 0.1)
    assert [(w.text, round(w.start, 3), round(w.end, 3)) for w in found.words] == [
        ("ab", 0.2, 0.6),
        ("cd", 1.0, 1.4),
    ]
    assert [(p.text, round(p.start, 3), round(p.end, 3)) for p in found.pieces] == [
        ("a", 0.2, 0.3),
        ("b", 0.4, 0.6),
        ("c", 1.0, 1.1),
        ("d", 1.3, 1.4),
    ]
    assert all(each.confidence == pytest.approx(0.82) for each in found.words + found.pieces)
    assert found.score == pytest.approx(0)


def test_the_score_falls_with_each_word_that_is_not_said(frames):
    cost = np.log(0.82 / 0.036)  # for a frame on which another label is wanted than the sure one
    for text, wrong in (("ab cc", 1), ("ab ad", 1), ("bb cd", 1), ("ab", 3), ("ab cd a", 2)):
        labels = VOCABULARY.encode(text)
        assert fit(frames, labels, VOCABULARY, 0.1).score == pytest.approx(-wrong * cost / len(labels))


def test_words_without_labels_are_named_with_their_lines():
    text = "A cab, bad\nnaïve dad — über\nNaïve naïve"
    assert unspelled(text, VOCABULARY) == [("naïve", 2), ("über", 2), ("Naïve", 3)]
    assert unspelled("", VOCABULARY) == []


def test_a_textgrid_has_every_interval_of_its_tiers():
    units = [("so", 0.1, 0.25), ('"a"', 0.25, 0.3), ("b", 0.5, 0.7)]
    grid = textgrid({"words": units, "none": []}, 0.7)
    assert grid.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 0.7000\n')
    words, none = grid.split("item [2]:")
    found = [line.split(" = ")[1] for line in words.splitlines() if line.startswith("            ")]
    assert [tuple(found[place : place + 3]) for place in range(0, len(found), 3)] == [
        ("0.0000", "0.1000", '""'),
        ("0.1000", "0.2500", '"so"'),
        ("0.2500", "0.3000", '"""a"""'),
        ("0.3000", "0.5000", '""'),
        ("0.5000", "0.7000", '"b"'),
    ]
    assert "intervals: size = 5" in words
    assert "intervals: size = 1" in none
