"""Guards the effective ranks: what the papers' formulas give on frames that are all in memory."""

import math

import numpy as np
import pytest
import torch

from sonorant.evaluate import rank as module
from sonorant.evaluate.rank import rank
from sonorant.evaluate.store import FeatureStore, FeatureWriter, StoreError


def store(path, utterances, **more):
    """A store with one layer, `z`."""
    with FeatureWriter(path, frame_seconds=0.02, first_centre=0.01, provenance={}, **more) as writer:
        for number, frames in enumerate(utterances):
            writer.add(f"u{number}", {"z": frames})
    return FeatureStore(path)


def slow(frames):
    """RankMe, effective rank and participation ratio, from the singular values of the matrix itself."""
    frames = np.asarray(frames, dtype=np.float64)
    found = []
    for matrix, epsilon in ((frames, 1e-7), (frames - frames.mean(0), 0.0)):
        values = np.linalg.svd(matrix, compute_uv=False)
        total, entropy = sum(values), 0.0
        for value in values:
            share = value / total + epsilon
            entropy -= share * math.log(share) if share > 1e-12 else 0.0
        found.append(math.exp(entropy))
    squares = np.linalg.svd(frames - frames.mean(0), compute_uv=False) ** 2
    return [*found, squares.sum() ** 2 / (squares**2).sum()]


def figures(found):
    return [found.rankme, found.effective, found.participation]


def utterances(count, frames, dim, *, offset=0.0, seed=0):
    """Correlated dimensions of falling size, each utterance about a place of its own."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dim, dim, generator=generator) * 0.8 ** torch.arange(dim)
    made = []
    for number in range(count):
        centre = torch.randn(dim, generator=generator)
        drawn = torch.randn(frames + number % 3, dim, generator=generator)
        made.append(((drawn + centre) @ mix + offset).half().float())
    return made


@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_ranks_from_sums_are_those_of_the_matrix(tmp_path, monkeypatch, offset):
    made = utterances(26, 30, 12, offset=offset)
    monkeypatch.setattr(module, "BATCH", 100)  # several batches, and several shards
    found = rank(store(tmp_path / "f", made, shard_bytes=4000), "z")
    assert [each.value for each in figures(found)] == pytest.approx(slow(torch.cat(made)), rel=1e-7)
    assert (found.dim, found.frames, found.utterances) == (12, sum(map(len, made)), 26)
    if offset:
        assert found.rankme.value < 3 < found.effective.value  # RankMe is not centred


def test_fewer_frames_than_dimensions_give_as_many_singular_values(tmp_path):
    made = utterances(2, 4, 20)
    found = rank(store(tmp_path / "f", made), "z")
    assert [each.value for each in figures(found)] == pytest.approx(slow(torch.cat(made)), rel=1e-6)
    assert found.rankme.low is None
    assert found.effective.value <= 8  # nine frames less their mean


def test_the_interval_is_the_jackknife_of_groups_of_utterances(tmp_path):
    made = utterances(23, 20, 5, seed=1)
    found = rank(store(tmp_path / "f", made), "z")
    without = np.array(
        [slow(torch.cat([each for number, each in enumerate(made) if number % 20 != group]))
         for group in range(20)]
    )  # fmt: skip
    half = 2.093 * np.sqrt(19 * without.var(0))
    for figure, expected in zip(figures(found), half, strict=True):
        assert figure.high - figure.value == pytest.approx(expected, rel=1e-5)
        assert figure.value - figure.low == pytest.approx(expected, rel=1e-5)


def test_known_spectra(tmp_path):
    corners = torch.cat([torch.eye(8), -torch.eye(8)])
    equal = rank(store(tmp_path / "equal", [corners] * 20), "z")
    assert [each.value for each in figures(equal)] == pytest.approx([8, 8, 8], rel=1e-5)
    assert equal.effective.high == pytest.approx(8)
    collapsed = rank(store(tmp_path / "collapsed", [torch.full((9, 6), 0.37)] * 20), "z")
    assert [each.value for each in figures(collapsed)] == pytest.approx([1, 0, 0], abs=1e-4)
    empty = rank(store(tmp_path / "empty", [torch.zeros(9, 6)] * 3), "z")
    assert [each.value for each in figures(empty)] == [0, 0, 0]
    line = torch.linspace(-1, 1, 10)[:, None] * torch.ones(1, 6)
    assert [each.value for each in figures(rank(store(tmp_path / "line", [line]), "z"))] == pytest.approx(
        [1, 1, 1], abs=1e-4
    )


def test_a_layer_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreError, match="no layer 'y', there are z"):
        rank(store(tmp_path / "f", utterances(2, 4, 3)), "y")
