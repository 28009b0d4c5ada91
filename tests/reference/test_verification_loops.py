"""Equal error rates, diarisation errors and term-weighted values against slow loops and cases by hand."""

import math
from itertools import pairwise, permutations

import pytest
import torch

from sonorant.data.manifest import Clip
from sonorant.evaluate.detection import BETA, mtwv, search, standardised
from sonorant.evaluate.diarisation import diarisation_errors
from sonorant.evaluate.sampling import SamplingError
from sonorant.evaluate.slots import type_f1, value_errors
from sonorant.evaluate.verification import equal_error_rate, trials, verification


def slow_eer(scores, same):
    """The crossing of the two rates, over every threshold, joined by straight lines."""
    points = []
    for threshold in [math.inf, *sorted(set(scores), reverse=True)]:
        accepted = [score >= threshold for score in scores]
        alarms = sum(a and not s for a, s in zip(accepted, same, strict=True)) / same.count(False)
        misses = sum(s and not a for a, s in zip(accepted, same, strict=True)) / same.count(True)
        points.append((alarms, misses))
    for (a0, m0), (a1, m1) in pairwise(points):
        if a1 >= m1:
            share = (m0 - a0) / ((a1 - a0) + (m0 - m1))
            return a0 + share * (a1 - a0)
    raise AssertionError


@pytest.mark.parametrize(
    ("scores", "same", "expected"),
    [
        ([4.0, 3, 2, 1], [True, True, False, False], 0.0),
        ([4.0, 3, 2, 1], [False, False, True, True], 1.0),
        ([4.0, 3, 2, 1], [True, False, True, False], 0.5),
        ([1.0, 1, 1, 1], [True, False, True, False], 0.5),  # no threshold parts them
        ([9.0, 8, 7, 6, 5, 4, 3, 2], [True, True, True, False, True, False, False, False], 0.25),
    ],
)
def test_equal_error_rates_by_hand(scores, same, expected):
    assert equal_error_rate(torch.tensor(scores), torch.tensor(same)) == pytest.approx(expected)
    assert slow_eer(scores, same) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_equal_error_rates_are_those_of_every_threshold(seed):
    generator = torch.Generator().manual_seed(seed)
    same = torch.rand(60, generator=generator) < 0.3
    scores = (torch.randn(60, generator=generator) + same).mul(4).round()  # with ties
    expected = slow_eer(scores.tolist(), same.tolist())
    assert equal_error_rate(scores, same) == pytest.approx(expected)
    # a weight counts a trial so many times
    weights = torch.randint(3, (60,), generator=generator)
    repeated = equal_error_rate(scores.repeat_interleave(weights), same.repeat_interleave(weights))
    assert equal_error_rate(scores, same, weights) == pytest.approx(repeated)


def test_trials_are_all_pairs_and_embeddings_of_speakers_part_them(monkeypatch):
    clips = [Clip(f"c{n}", "x.wav", speaker=f"s{n % 12}") for n in range(36)]
    pairs, same = trials(clips)
    assert len(pairs) == 36 * 35 // 2
    assert int(same.sum()) == 12 * 3
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(12, 20, generator=generator)
    telling = torch.stack([directions[n % 12] * (1 + n) for n in range(36)])  # lengths do not matter
    assert verification(clips, telling).value == 0
    noise = verification(clips, torch.randn(36, 20, generator=generator))
    assert 0.35 < noise.value < 0.65
    assert noise.low < noise.value < noise.high
    assert (noise.over, noise.n) == ("speakers", 12)
    monkeypatch.setattr("sonorant.evaluate.verification.TRIALS", 20)
    assert [int(kind.sum()) for kind in (trials(clips)[1], ~trials(clips)[1])] == [20, 20]
    monkeypatch.setattr("sonorant.evaluate.verification.CLIPS", 10)
    pairs, _ = trials(clips)
    assert len(pairs.unique()) <= 10
    with pytest.raises(SamplingError, match="one kind only"):
        verification([Clip(f"c{n}", "x.wav", speaker="s") for n in range(4)], torch.randn(4, 3))


def bits(*rows):
    return torch.tensor([[letter == "1" for letter in row] for row in rows]).T


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "speech"),
    [
        (("1100", "0011"), ("1100", "0011"), 0, 4),
        (("1100", "0011"), ("0011", "1100"), 0, 4),  # nobody knows who is first
        (("1100", "0011"), ("0000", "0000"), 4, 4),  # missed
        (("1100", "0000"), ("1111", "0000"), 2, 2),  # false alarms
        (("1100", "0011"), ("1111", "0000"), 2, 4),  # confused
        (("1111", "0110"), ("1111", "0000"), 2, 6),  # overlap: the second one is missed
        (("1111", "0110"), ("1111", "1111"), 2, 6),
    ],
)
def test_diarisation_errors_by_hand(reference, hypothesis, errors, speech):
    assert diarisation_errors(bits(*reference), bits(*hypothesis)) == (errors, speech)


@pytest.mark.parametrize("seed", range(5))
def test_diarisation_errors_are_misses_alarms_and_confusions(seed):
    generator = torch.Generator().manual_seed(seed)
    reference, hypothesis = (torch.rand(30, 3, generator=generator) < 0.4 for _ in range(2))
    costs = []
    for order in permutations(range(3)):
        cost = 0
        for real, said in zip(reference.tolist(), hypothesis.tolist(), strict=True):
            said = [said[place] for place in order]
            right = sum(a and b for a, b in zip(real, said, strict=True))
            missed, extra = sum(real) - right, sum(said) - right
            cost += max(missed, extra)  # a pair of a miss and a false alarm is one confusion
        costs.append(cost)
    assert diarisation_errors(reference, hypothesis) == (min(costs), int(reference.sum()))


def slow_search(query, document):
    """Every way through the table of scaled distances, by recursion."""
    table = []
    for frame in query:
        row = [math.exp(1 - float(torch.cosine_similarity(frame, other, dim=0))) - 1 for other in document]
        low, high = min(row), max(row)
        table.append([(value - low) / max(high - low, 1e-9) for value in row])

    def cheapest(step, place):
        if place < 0:
            return math.inf
        before = 0 if step == 0 else min(cheapest(step - 1, place - jump) for jump in (0, 1, 2))
        return table[step][place] + before

    last = len(query) - 1
    return -min(cheapest(last, place) for place in range(len(document))) / len(query)


def test_the_search_is_the_cheapest_of_all_ways():
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(5, 6, generator=generator)
    documents = [torch.randn(length, 6, generator=generator) for length in (7, 3, 12, 1)]
    expected = torch.tensor([slow_search(query, document) for document in documents])
    torch.testing.assert_close(search(query, documents), expected, rtol=1e-4, atol=1e-5)


def test_slower_and_faster_copies_inside_documents_are_found():
    generator = torch.Generator().manual_seed(1)
    word = torch.randn(8, 16, generator=generator)
    query = word.repeat_interleave(2, 0)
    documents = [torch.randn(60, 16, generator=generator) for _ in range(6)]
    documents[2][20:52] = word.repeat_interleave(4, 0)
    documents[4][5:13] = word
    scores = standardised(search(query, documents))
    assert set(scores.topk(2).indices.tolist()) == {2, 4}
    assert scores.mean().abs() < 1e-5
    assert scores.std(correction=0).item() == pytest.approx(1, abs=1e-4)


def slow_mtwv(scores, holds):
    best = 0.0
    for threshold in sorted({value for row in scores for value in row}):
        values = []
        for row, real in zip(scores, holds, strict=True):
            if not any(real) or all(real):
                continue
            missed = sum(r and s < threshold for s, r in zip(row, real, strict=True)) / sum(real)
            false = sum(not r and s >= threshold for s, r in zip(row, real, strict=True)) / (
                len(real) - sum(real)
            )
            values.append(missed + BETA * false)
        best = max(best, 1 - sum(values) / len(values))
    return best


@pytest.mark.parametrize("seed", range(5))
def test_the_term_weighted_value_is_that_of_the_best_threshold(seed):
    generator = torch.Generator().manual_seed(seed)
    holds = torch.rand(6, 30, generator=generator) < 0.3
    holds[0] = False  # does not count
    scores = (torch.randn(6, 30, generator=generator) + 3 * holds).mul(4).round()
    assert mtwv(scores, holds) == pytest.approx(slow_mtwv(scores.tolist(), holds.tolist()))
    assert mtwv(holds.float(), holds) == pytest.approx(1)
    assert mtwv(-holds.float(), holds) == 0
    weights = torch.randint(1, 3, (6,), generator=generator)
    repeated = mtwv(scores.repeat_interleave(weights, 0), holds.repeat_interleave(weights, 0))
    assert mtwv(scores, holds, weights) == pytest.approx(repeated)
    assert pytest.approx(12.49) == BETA


def test_slots_by_hand():
    real = [("artist", "abba"), ("year", "1974")]
    assert type_f1(real, real) == 1
    assert type_f1(real, [("artist", "x"), ("city", "y")]) == pytest.approx(0.5)
    assert type_f1([], []) == 1
    assert type_f1(real, []) == 0
    assert value_errors(real, [("artist", "aba"), ("artist", "zzzz")]) == (1 + 4, 8)
