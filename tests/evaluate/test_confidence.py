"""Guards the separation of right from wrong characters by confidence, against a count of all pairs."""

import itertools
import random

import pytest
import torch

from sonorant.evaluate.confidence import auroc, correct, separation


def pairs(scores, right, weights):
    """The probability that a right one is surer than a wrong one, by looking at every pair."""
    won = total = 0.0
    for i, j in itertools.product(range(len(scores)), repeat=2):
        if right[i] and not right[j]:
            total += weights[i] * weights[j]
            won += weights[i] * weights[j] * ((scores[i] > scores[j]) + (scores[i] == scores[j]) / 2)
    return won / total


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_share_of_pairs_in_the_right_order(seed):
    draw = random.Random(seed)
    scores = sorted(draw.choice([0.1, 0.25, 0.5, 0.9]) for _ in range(30))
    right = [draw.random() < 0.3 + score / 2 for score in scores]
    weights = [float(draw.randrange(3)) for _ in scores]
    found = auroc(
        torch.tensor(scores, dtype=torch.float64),
        torch.tensor(right),
        torch.tensor(weights, dtype=torch.float64),
    )
    assert float(found) == pytest.approx(pairs(scores, right, weights))


def test_characters_are_right_where_they_align():
    assert correct("abc", "abc") == [True] * 3
    assert correct("abc", "axbc") == [True, False, True, True]
    assert correct("abc", "ac") == [True, True]
    assert correct("abc", "abd") == [True, True, False]
    assert correct("", "ab") == [False, False]
    assert correct("ab", "") == []


def test_confidences_that_tell_and_those_that_do_not():
    told = [([0.9, 0.8, 0.2], [True, True, False])] * 4 + [([0.3], [False]), ([], [])]
    found = separation(told)
    assert (found.auroc.value, found.auroc.low, found.auroc.high) == (1, 1, 1)
    assert (found.characters, found.correct) == (13, pytest.approx(0.85))
    assert found.wrong == pytest.approx((4 * 0.2 + 0.3) / 5)
    blind = separation([([0.5, 0.5], [True, False])] * 3)
    assert blind.auroc.value == 0.5
    draw = random.Random(0)
    mixed = [([draw.random() for _ in range(5)], [draw.random() < 0.5 for _ in range(5)]) for _ in range(40)]
    noise = separation(mixed)
    assert noise.auroc.low < noise.auroc.value < noise.auroc.high
    assert noise.auroc.low < 0.5 < noise.auroc.high
    assert separation([([0.5], [True])]) is None
    assert separation([([], [])]) is None
