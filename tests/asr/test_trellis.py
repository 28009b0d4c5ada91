"""Guards the likeliest path: it is that of all paths, also when scores are kept and computed again."""

import itertools
import tracemalloc

import numpy as np
import pytest

from sonorant.asr import trellis
from sonorant.asr.trellis import best_path


def posteriors(frames, labels, seed):
    return np.log(np.random.default_rng(seed).dirichlet(np.full(labels, 0.5), size=frames))


def collapsed(path):
    return tuple(label for label, _ in itertools.groupby(path) if label)


@pytest.fixture
def in_stretches(monkeypatch):
    """Stretches of two or three frames where tests have four to nine."""
    monkeypatch.setattr(trellis, "AT_ONCE", 0)
    monkeypatch.setattr(trellis, "_SCORE", 1)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 7, 8])
def test_no_path_of_all_is_likelier(frames, in_stretches):
    rows = posteriors(frames, 3, seed=frames)
    best = {}
    for path in itertools.product(range(3), repeat=frames):
        score = rows[range(frames), path].sum()
        best[collapsed(path)] = max(best.get(collapsed(path), (-np.inf, ())), (score, path))
    assert len(best) >= 3
    for labels, (_, path) in best.items():
        assert tuple(best_path(rows, labels)) == path


@pytest.mark.parametrize("seed", range(4))
def test_stretches_change_nothing(seed, in_stretches, monkeypatch):
    rows, labels = posteriors(300, 6, seed), np.random.default_rng(seed).integers(1, 6, size=70).tolist()
    found = best_path(rows, labels)
    monkeypatch.setattr(trellis, "AT_ONCE", 1 << 26)
    np.testing.assert_array_equal(found, best_path(rows, labels))
    assert collapsed(found) == collapsed(label for each in labels for label in (each, 0))


def test_memory_grows_slower_than_frames_times_states(monkeypatch):
    monkeypatch.setattr(trellis, "AT_ONCE", 0)
    rows, labels = posteriors(3000, 4, 0), [1, 2] * 450
    best_path(rows[:1000], labels[:300])
    tracemalloc.start()
    try:
        best_path(rows, labels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.25 * len(rows) * (2 * len(labels) + 1)


def test_a_frame_for_each_label_and_between_equal_ones_is_needed():
    rows = posteriors(4, 3, 0)
    assert best_path(rows, [1, 1, 2]).tolist() == [1, 0, 1, 2]
    with pytest.raises(ValueError, match="4 labels need 5 frames, but there are 4"):
        best_path(rows, [1, 1, 2, 1])
    assert best_path(rows, []).tolist() == [0] * 4
    assert best_path(rows[:0], []).tolist() == []
