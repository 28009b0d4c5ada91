"""Guards ABX and its alignment against loops written from the definition, triple by triple."""

import math
from itertools import product

import pytest
import torch

from sonorant.evaluate.abx import abx
from sonorant.evaluate.dtw import dtw, sequences
from sonorant.evaluate.items import Items


def aligned(costs):
    """The cheapest way through a matrix of distances, the shortest of these, and its mean."""
    best = {}
    for i, row in enumerate(costs):
        for j, cost in enumerate(row):
            before = [best[step] for step in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if step in best]
            total, length = min(before, default=(0.0, 0))
            best[i, j] = (total + cost, length + 1)
    total, length = best[len(costs) - 1, len(costs[0]) - 1]
    return total / length


def angular(x, y):
    x_norm, y_norm = math.hypot(*x), math.hypot(*y)
    if not x_norm or not y_norm:
        return 0.0 if x_norm == y_norm else 1.0
    cosine = sum(a * b for a, b in zip(x, y, strict=True)) / (x_norm * y_norm)
    return math.acos(max(-1.0, min(1.0, cosine))) / math.pi


def kl(x, y, epsilon=1e-6):
    def one(p, q):
        return sum(a * math.log((a + epsilon) / (b + epsilon)) for a, b in zip(p, q, strict=True))

    return (one(x, y) + one(y, x)) / 2


DISTANCES = {"angular": angular, "euclidean": math.dist, "kl": kl}


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def slow_abx(items, speakers, distance):
    """The error rate, and that of each pair, from the definition."""
    parts = items.frames.split(items.lengths.tolist())
    frames = [part.double().tolist() for part in parts]
    every = range(len(frames))
    label, context, voice = items.labels.tolist(), items.contexts.tolist(), items.speakers.tolist()
    known = {}

    def d(x, y):
        if (x, y) not in known:
            known[x, y] = aligned([[DISTANCES[distance](f, g) for g in frames[y]] for f in frames[x]])
        return known[x, y]

    def chosen(*marks):
        return [i for i in every if (label[i], context[i], voice[i]) == marks]

    pairs = {}
    for a, b in product(sorted(set(label)), repeat=2):
        of_speakers = []
        for s in sorted(set(voice)):
            cells = []
            others = [s] if speakers == "within" else [t for t in sorted(set(voice)) if t != s]
            for c, t in product(sorted(set(context)), others):
                right = [
                    1.0 if d(x, far) < d(x, near) else 0.5 if d(x, far) == d(x, near) else 0.0
                    for x in chosen(a, c, t)
                    for near in chosen(a, c, s)
                    for far in chosen(b, c, s)
                    if near != x and a != b
                ]
                if right:
                    cells.append(mean(right))
            if cells:
                of_speakers.append(mean(cells))
        if of_speakers:
            pairs[items.names[a], items.names[b]] = mean(of_speakers)
    return mean(pairs.values()), pairs


def made_up(seed=0, *, count=60, voices=3, contexts=2, labels=3, dim=4, longest=5, spread=1.0):
    """Items of random lengths whose frames lie about their label's centre."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(high):
        return torch.randint(high, (count,), generator=generator)

    centres = torch.randn(labels, dim, generator=generator)
    lengths, label = numbers(longest) + 1, numbers(labels)
    frames = torch.randn(int(lengths.sum()), dim, generator=generator) * spread
    frames += centres[label.repeat_interleave(lengths)]
    return Items(
        frames=frames,
        lengths=lengths,
        labels=label,
        contexts=numbers(contexts),
        speakers=numbers(voices),
        clips=numbers(12),
        names=tuple("abcdefgh"[:labels]),
        voices=tuple(f"s{number}" for number in range(voices)),
        unknown=0,
    )


@pytest.mark.parametrize("speakers", ["within", "across"])
@pytest.mark.parametrize("distance", list(DISTANCES))
def test_the_fast_error_is_the_slow_one(speakers, distance):
    items = made_up()
    if distance == "kl":
        items = Items(**{**vars(items), "frames": items.frames.softmax(1)})
    result = abx(items, speakers=speakers, distance=distance)
    error, pairs = slow_abx(items, speakers, distance)
    assert 0.1 < error < 0.45
    assert result.error == pytest.approx(error, abs=1e-6)
    assert result.pairs == pytest.approx(pairs, abs=1e-6)


@pytest.mark.parametrize("speakers", ["within", "across"])
def test_discrete_frames_tie_and_ties_count_one_half(speakers):
    items = made_up(3, longest=3)
    frames = torch.eye(4)[items.frames.argmax(1)]
    frames[::7] = 0
    items = Items(**{**vars(items), "frames": frames})
    result = abx(items, speakers=speakers)
    error, pairs = slow_abx(items, speakers, "angular")
    assert result.error == pytest.approx(error, abs=1e-6)
    assert result.pairs == pytest.approx(pairs, abs=1e-6)


def test_alignments_of_a_padded_batch_are_those_of_each_alone():
    generator = torch.Generator().manual_seed(1)
    costs = torch.rand(3, 5, 6, 7, generator=generator, dtype=torch.float64)
    costs[0] = (costs[0] * 3).round() / 3  # with paths of equal cost
    x = torch.randint(1, 7, (3, 5), generator=generator)
    y = torch.randint(1, 8, (3, 5), generator=generator)
    for order in (
        costs,
        costs.movedim((2, 3), (0, 1)).contiguous().movedim((0, 1), (2, 3)),
        costs.mT.contiguous().mT,
    ):
        fast = dtw(order, x, y)
        for pair in product(range(3), range(5)):
            slow = aligned(costs[pair][: x[pair], : y[pair]].tolist())
            assert fast[pair].item() == pytest.approx(slow, abs=1e-8)


def test_a_table_of_distances_is_that_of_each_pair():
    generator = torch.Generator().manual_seed(2)
    lengths = torch.randint(1, 30, (90,), generator=generator)  # several blocks
    frames = torch.randn(int(lengths.sum()), 3, generator=generator)
    parts = [part.double().tolist() for part in frames.split(lengths.tolist())]
    every = torch.arange(90)
    ready = sequences(frames, lengths, "angular")
    once, twice = ready.between(every, every), ready.between(every, every.clone())
    assert torch.equal(once, twice)
    for i, j in product(range(0, 90, 11), range(0, 90, 7)):
        slow = aligned([[angular(f, g) for g in parts[j]] for f in parts[i]])
        assert once[i, j].item() == pytest.approx(slow, abs=1e-6)
