"""Guards the estimation of n-gram models: by hand, against the paper in loops, as distributions."""

import itertools
import random
from collections import Counter, defaultdict
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from sonorant.data.manifest import read
from sonorant.data.text import normalize
from sonorant.lm import arpa
from sonorant.lm.kneser_ney import TextError, discounts, estimate
from sonorant.lm.model import Backoff

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech" / "manifest.jsonl"


def spoken():
    """The sentences of the fixtures, in several languages."""
    return [normalize(clip.text).split() for clip in read(SPEECH) if clip.text]


def drawn(seed, sentences=60):
    """Sentences of few words that follow one another unevenly, so that counts from 1 to many occur."""
    generator = random.Random(seed)
    return [
        [f"w{int(generator.expovariate(0.35))}" for _ in range(generator.randint(1, 9))]
        for _ in range(sentences)
    ]


TEXTS = {"spoken": spoken, "drawn": lambda: drawn(1), "few": lambda: drawn(2, sentences=5)}


@pytest.fixture(params=TEXTS)
def text(request):
    return TEXTS[request.param]()


class Paper:
    """Interpolated modified Kneser-Ney as the paper has it, one probability at a time."""

    def __init__(self, sentences, order):
        self.order = order
        grams = [Counter() for _ in range(order + 1)]
        for sentence in sentences:
            padded = ("<s>", *sentence, "</s>")
            for size in range(1, order + 1):
                for start in range(len(padded) - size + 1):
                    grams[size][padded[start : start + size]] += 1
        self.counts = [Counter() for _ in range(order + 1)]
        self.counts[order] = grams[order]
        for size in range(1, order):
            left = defaultdict(set)
            for gram in grams[size + 1]:
                left[gram[1:]].add(gram[0])
            for gram, count in grams[size].items():
                self.counts[size][gram] = count if gram[0] == "<s>" else len(left[gram])
        del self.counts[1][("<s>",)]
        self.words = ["<unk>", "</s>", *sorted({word for sentence in sentences for word in sentence})]
        self.probability = cache(self.probability)
        self.frequencies = [Counter(counts.values()) for counts in self.counts]
        self.followers = [defaultdict(dict) for _ in range(order + 1)]
        for size in range(1, order + 1):
            for gram, count in self.counts[size].items():
                self.followers[size][gram[:-1]][gram[-1]] = count

    def discount(self, size, count):
        n = self.frequencies[size]
        if not n[1] or not n[2]:
            return (0.5, 1.0, 1.5)[min(count, 3) - 1]
        y = n[1] / (n[1] + 2 * n[2])
        if n[3] and n[4]:
            three = (1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3])
            if all(0 < d <= c for c, d in zip((1, 2, 3), three, strict=True)):
                return three[min(count, 3) - 1]
        return y

    def probability(self, history, word):
        size = len(history) + 1
        lower = self.probability(history[1:], word) if history else 1 / len(self.words)
        seen = self.followers[size][history]
        if not seen:
            return lower
        total = sum(seen.values())
        freed = sum(self.discount(size, count) for count in seen.values())
        own = seen[word] - self.discount(size, seen[word]) if word in seen else 0.0
        return own / total + freed / total * lower


def asked(model, history, word):
    """The model's probability of a word behind words, which may start with `<s>`."""
    state = 0
    for each in history:
        state, _ = model.score(state, each)
    return 10 ** model.score(state, word)[1]


@pytest.fixture
def modelled(tmp_path):
    def made(sentences, order):
        path = tmp_path / "lm.arpa"
        arpa.write(path, estimate(sentences, order))
        return Backoff(path)

    return made


def histories(sentences, order):
    """Every history that occurs, and some that do not."""
    found = {()}
    for sentence in sentences:
        padded = ("<s>", *sentence)
        for size in range(1, order):
            found.update(padded[start : start + size] for start in range(len(padded) - size + 1))
    words = sorted({word for sentence in sentences for word in sentence})
    mixed = random.Random(0)
    found.update(tuple(mixed.choices(words, k=order - 1)) for _ in range(20))
    return sorted(found)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_are_those_of_the_paper(text, order, modelled):
    paper, model = Paper(text, order), modelled(text, order)
    for history in histories(text, order)[::5]:
        for word in paper.words[::3]:
            expected = paper.probability(history, word)
            assert asked(model, history, word) == pytest.approx(expected, rel=2e-6), (history, word)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_behind_every_history_probabilities_sum_to_one(text, order, modelled):
    model = modelled(text, order)
    words = [word for word in model.unigrams if word != "<s>"]
    for history in histories(text, order)[::3]:
        state = 0
        for each in history:
            state, _ = model.score(state, each)
        assert sum(10 ** model.score(state, word)[1] for word in words) == pytest.approx(1, abs=3e-6)


def test_a_bigram_by_hand(modelled):
    # "a b", "a a": bigrams <s>a 2, aa 1, ab 1, a</s> 1, b</s> 1; n1 = 4, n2 = 1, n3 = 0: D = 4 / 6.
    # Words that each follows: a 2 (<s>, a), b 1, </s> 2; n1 = 1, n2 = 2: D = 1 / 5.
    model = modelled([["a", "b"], ["a", "a"]], 2)
    two, one = Fraction(2, 3), Fraction(1, 5)
    a = (2 - one) / 5 + 3 * one / 5 / 4  # four words: a, b, </s>, <unk>
    b = (1 - one) / 5 + 3 * one / 5 / 4
    assert asked(model, (), "a") == pytest.approx(float(a), rel=1e-6)
    assert asked(model, (), "zebra") == pytest.approx(float(3 * one / 5 / 4), rel=1e-6)
    assert asked(model, ("a",), "b") == pytest.approx(float((1 - two) / 3 + 3 * two / 3 * b), rel=1e-6)
    assert asked(model, ("<s>",), "a") == pytest.approx(float((2 - two) / 2 + two / 2 * a), rel=1e-6)
    assert asked(model, ("<s>",), "b") == pytest.approx(float(two / 2 * b), rel=1e-6)
    assert asked(model, ("zebra",), "b") == pytest.approx(float(b), rel=1e-6)


@pytest.mark.parametrize(
    ("frequencies", "expected"),
    [
        ({1: 8, 2: 4, 3: 3, 4: 2}, (0.5, 2 - 9 / 8, 3 - 4 / 3)),
        ({1: 8, 2: 4, 3: 3, 9: 5}, (0.5, 0.5, 0.5)),
        ({1: 8, 2: 4, 4: 3}, (0.5, 0.5, 0.5)),
        ({1: 8, 2: 1, 3: 9, 4: 1}, (0.8, 0.8, 0.8)),  # the second one would be less than nothing
        ({2: 4, 3: 3, 4: 2}, (0.5, 1.0, 1.5)),
        ({1: 4, 3: 3, 4: 2}, (0.5, 1.0, 1.5)),
    ],
    ids=["three", "n4 is 0", "n3 is 0", "out of range", "n1 is 0", "n2 is 0"],
)
def test_discounts_come_from_counts_of_counts(frequencies, expected):
    counts = np.array([count for count, times in frequencies.items() for _ in range(times)])
    assert discounts(counts) == pytest.approx(expected)


def test_orders_above_the_longest_sentence_are_left_out():
    grams = estimate([["a"], [], ["a", "b"]], 9)
    assert [rows.shape for rows in grams.rows] == [(5, 1), (4, 2), (3, 3), (1, 4)]
    assert grams.words == ("<s>", "<unk>", "</s>", "a", "b")


def test_texts_without_words_and_with_marks_are_refused():
    for sentences in [], [[]]:
        with pytest.raises(TextError, match="no words"):
            estimate(sentences, 3)
    for mark in "<s>", "</s>":
        with pytest.raises(TextError, match="stand for a sentence's start and end"):
            estimate([["a", mark]], 3)


def test_the_order_of_sentences_does_not_matter(modelled):
    sentences = drawn(3)
    one, other = modelled(sentences, 3), modelled(sentences[::-1], 3)
    for history, word in itertools.product(histories(sentences, 3)[::9], sorted(one.unigrams)):
        assert one.score(one.start, word)[1] == pytest.approx(other.score(other.start, word)[1])
        assert asked(one, history, word) == pytest.approx(asked(other, history, word))
