"""Guards measures of similarity where their value is known, how frames are paired, what is streamed."""

import math

import pytest
import torch

from sonorant.evaluate import layers, pairs, similarity
from sonorant.evaluate import store as store_module
from sonorant.evaluate.alike import CANONICAL, MEASURES, in_memory, rotation
from sonorant.evaluate.cca import correlate, whiten
from sonorant.evaluate.neighbours import NEIGHBOURS
from sonorant.evaluate.pairs import pair
from sonorant.evaluate.sampling import SamplingError
from sonorant.evaluate.similarity import compare
from sonorant.evaluate.store import FeatureStore, FeatureWriter

N = 400
OWNERS = torch.arange(N) // 5


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(similarity, "SAMPLED", 300)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthonormal(n, dims, seed=0):
    """Columns without mean, of length 1 and at right angles."""
    columns = normal(n, dims, seed=seed)
    return torch.linalg.qr(columns - columns.mean(0))[0]


def measured(x, y, measures=MEASURES):
    return in_memory(x, y, OWNERS[: len(x)], measures)


def store(path, utterances, *, frame_seconds=0.02, first_centre=0.0125, **more):
    with FeatureWriter(
        path, frame_seconds=frame_seconds, first_centre=first_centre, provenance={}, **more
    ) as writer:
        for name, features in utterances.items():
            writer.add(name, features)
    return FeatureStore(path)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Stores of 30 utterances in several shards: two layers each, far from zero, with something in common."""
    path = tmp_path_factory.mktemp("two")
    lengths = [20 + number for number in range(30)]
    shared = normal(sum(lengths), 4, seed=1)
    stores = []
    for side, dims in enumerate(((6, 5), (7, 3))):
        made = {
            f"layer_{number}": shared @ normal(4, dim, seed=10 * side + number)
            + normal(sum(lengths), dim, seed=20 + 10 * side + number)
            + 40 * normal(dim, seed=3)
            for number, dim in enumerate(dims)
        }
        cut = {name: frames.split(lengths) for name, frames in made.items()}
        utterances = {f"u{u}": {name: frames[u] for name, frames in cut.items()} for u in range(30)}
        order = sorted(utterances) if side else list(utterances)
        stores.append(store(path / f"s{side}", {name: utterances[name] for name in order}, shard_bytes=2000))
    return stores


def joined(stores, first, second, *, without=(), frames=10**9):
    """All frames of two layers, and the numbers of their utterances, in the order that `compare` takes."""
    ids = [name for name in pair(*stores, frames=frames, seed=0).ids if name not in without]
    x, y = (
        torch.cat([frames[side.ids.index(name)] for name in ids])
        for side, layer in zip(stores, (first, second), strict=True)
        for frames in [side.read(layer, side.ids)]
    )
    return x, y, torch.arange(len(ids)).repeat_interleave(torch.tensor([stores[0].lengths[n] for n in ids]))


def test_rotation_shift_and_scale_change_no_measure():
    x = normal(N, 8) @ normal(8, 8, seed=1)
    y = 3 * x @ rotation(8, seed=2) + normal(8, seed=3)
    assert measured(x, y) == pytest.approx(dict.fromkeys(MEASURES, 1.0), abs=1e-6)
    turn = rotation(8, seed=2)
    torch.testing.assert_close(turn @ turn.T, torch.eye(8, dtype=turn.dtype))


def test_invertible_maps_change_cka_and_neighbours_but_not_canonical_correlations():
    x = normal(N, 8)
    found = measured(x, x @ torch.diag(torch.logspace(-1, 1, 8, dtype=x.dtype)) @ rotation(8, seed=2))
    assert found["mean_cca"] == pytest.approx(1, abs=1e-6)
    assert found["pwcca"] == pytest.approx(1, abs=1e-6)
    assert max(found["linear_cka"], found["rbf_cka"], found["mutual_knn"]) < 0.8


def test_independent_gaussians_correlate_by_chance_as_theory_says_and_do_not_align():
    rounds = [measured(normal(50, 1, seed=s), normal(50, 10, seed=999 + s), MEASURES[:4]) for s in range(200)]
    squares = torch.tensor([each["mean_cca"] ** 2 for each in rounds])  # one correlation: beta distributed
    error = squares.std() / math.sqrt(200)
    assert float(squares.mean()) == pytest.approx(10 / 49, abs=3 * float(error))
    wide = [
        measured(normal(60, 40, seed=s), normal(60, 40, seed=99 + s), ("linear_cka", "rbf_cka"))
        for s in range(25)
    ]
    for measure in ("linear_cka", "rbf_cka"):
        values = torch.tensor([each[measure] for each in wide])
        assert float(values.mean()) == pytest.approx(0, abs=3 * float(values.std()) / math.sqrt(25))
        assert float(values.abs().max()) < 0.2  # the biased estimate is above 0.4 for each


def test_the_first_layer_weighs_in_pwcca():
    shared, one, other = orthonormal(N, 3).T
    x, y = torch.stack([9 * shared, one], 1), torch.stack([shared, other], 1)
    there, back = measured(x, y, CANONICAL), measured(y, x, CANONICAL)
    assert (there["mean_cca"], back["mean_cca"]) == pytest.approx((0.5, 0.5))
    assert there["pwcca"] == pytest.approx(0.9)
    assert back["pwcca"] == pytest.approx(0.5)


def test_svcca_forgets_directions_of_little_variance():
    shared, one, other = orthonormal(N, 3).T
    x, y = torch.stack([20 * shared, one], 1), torch.stack([20 * shared, other], 1)
    found = measured(x, y, CANONICAL)
    assert (found["svcca"], found["mean_cca"]) == pytest.approx((1, 0.5))


def test_directions_made_of_rounding_do_not_count():
    x = normal(N, 5)
    twice = torch.cat([x, x + 1e-5 * normal(N, 5, seed=1)], 1)
    covariance = torch.cov(twice.T)
    whitened = whiten(covariance)
    assert whitened.kept == 5
    assert correlate(whitened, whitened, covariance).mean == pytest.approx(1)
    assert measured(twice, normal(N, 5, seed=2), CANONICAL) == pytest.approx(
        measured(x, normal(N, 5, seed=2), CANONICAL), abs=1e-3
    )


@pytest.mark.parametrize("size", [1, 100, 10**6])
def test_sums_over_batches_are_those_of_all_frames(two, monkeypatch, size):
    monkeypatch.setattr(pairs.Pairs.batches, "__defaults__", (size,))
    found = compare(*two, measures=(*CANONICAL, "linear_cka"))
    assert (found.frames, found.utterances) == (sum(two[0].lengths.values()), 30)
    for row, first in enumerate(two[0].layers):
        for column, second in enumerate(two[1].layers):
            expected = in_memory(*joined(two, first, second), (*CANONICAL, "linear_cka"))
            values = {measure: matrix[row][column] for measure, matrix in found.values.items()}
            assert values == pytest.approx(expected, rel=1e-9)


def test_all_frames_are_sampled_where_there_are_few(two, monkeypatch):
    monkeypatch.setattr(similarity, "SAMPLED", 10**6)
    found = compare(*two, layers=["layer_1"], measures=("rbf_cka", "mutual_knn"), frames=400)
    assert found.sampled == found.frames
    expected = in_memory(*joined(two, "layer_1", "layer_1", frames=400), ("rbf_cka", "mutual_knn"))
    assert {measure: matrix[0][0] for measure, matrix in found.values.items()} == pytest.approx(expected)


def test_floors_are_measured_on_frames_of_other_utterances(two):
    found = compare(*two, layers=["layer_0"])
    x, y, owners = joined(two, "layer_0", "layer_0")
    expected = in_memory(x.roll(len(x) // 2, 0), y, owners, (*CANONICAL, "linear_cka"))
    floors = {measure: matrix[0][0] for measure, matrix in found.floors.items()}
    assert {measure: floors[measure] for measure in expected} == pytest.approx(expected, rel=1e-9)
    assert all(found.values[measure][0][0] > 2 * floors[measure] for measure in CANONICAL)
    assert abs(floors["linear_cka"]) < 0.02
    assert abs(floors["rbf_cka"]) < 0.02
    assert floors["mutual_knn"] == pytest.approx(NEIGHBOURS / found.sampled, rel=0.4)


def test_controls_are_one_and_the_best_layer_is_the_highest(two):
    found = compare(*two)
    assert found.itself == pytest.approx(dict.fromkeys(MEASURES, 1.0), abs=1e-6)
    assert found.rotated == pytest.approx(dict.fromkeys(MEASURES, 1.0), abs=1e-6)
    for measure, best in found.best.items():
        for row, each in enumerate(best):
            values = found.values[measure][row]
            assert each.value == max(values)
            assert each.layer == two[1].layers[values.index(max(values))]
            assert each.floor == found.floors[measure][row][values.index(max(values))]
            assert each.low < each.value < each.high


def test_intervals_are_those_of_leaving_out_each_group_of_utterances(two):
    measures = ("pwcca", "linear_cka")
    found = compare(*two, layers=["layer_1"], measures=measures)
    ids = pair(*two, frames=10**9, seed=0).ids
    left_out = [
        in_memory(*joined(two, "layer_1", "layer_1", without=ids[group :: layers.GROUPS]), measures)
        for group in range(layers.GROUPS)
    ]
    for measure in measures:
        values = torch.tensor([each[measure] for each in left_out], dtype=torch.float64)
        error = (19 / 20 * (values - values.mean()).square().sum()).sqrt()
        (best,) = found.best[measure]
        assert best.high - best.value == pytest.approx(2.093 * float(error), rel=1e-6)
        assert best.value - best.low == pytest.approx(2.093 * float(error), rel=1e-6)


def test_a_batch_is_all_that_is_read_at_once(two, monkeypatch):
    read = []

    def spy(self, layer, names):
        read.append(sum(self.lengths[name] for name in names))
        return original(self, layer, names)

    original = FeatureStore.read
    monkeypatch.setattr(FeatureStore, "read", spy)
    monkeypatch.setattr(pairs.Pairs.batches, "__defaults__", (100,))
    monkeypatch.setattr(store_module, "CHUNK", 4)
    compare(*two)
    assert max(read) < 100 + 49 + 100
    assert sum(two[0].lengths.values()) > 1000


@pytest.mark.parametrize(
    ("steps", "centres"),
    [
        ((0.02, 0.01), (0.0125, 0.0125)),
        ((0.01, 0.04), (0.0125, 0.0275)),
        ((0.02, 0.025), (0.0125, 0.02)),
        ((0.02, 0.02), (0.01, 0.01)),
    ],
)
def test_frames_are_paired_by_time(tmp_path, steps, centres):
    """Features are the times of their frames, in units that float16 keeps."""
    stores = []
    for side, (step, centre) in enumerate(zip(steps, centres, strict=True)):
        times = [centre + step * number for number in range(int((1.5 - centre) / step))]
        frames = (torch.tensor(times, dtype=torch.float64) * 1000)[:, None]
        stores.append(
            store(tmp_path / str(side), {"a": {"t": frames}}, frame_seconds=step, first_centre=centre)
        )
    matched = pair(*stores, frames=10**9, seed=0)
    first, second = (matched.read(side, "t", matched.ids)[:, 0] for side in (0, 1))
    assert float((first - second).abs().max()) <= 1000 * min(steps) / 2 + 1  # rounding of float16
    slow = max(steps)
    assert len(first) >= 1.5 / slow - 2
    for side, step in zip((first, second), steps, strict=True):
        assert float(side.diff().min()) >= 1000 * step - 1  # no frame twice
    back = pair(stores[1], stores[0], frames=10**9, seed=0)
    assert (back.rows["a"][0] == matched.rows["a"][1]).all()


def test_what_does_not_fit_is_refused_and_what_is_doubtful_told(two, tmp_path):
    layer = {"layer_0": normal(30, 6)}
    other = store(tmp_path / "other", {"x": layer})
    with pytest.raises(SamplingError, match="no utterance in common"):
        compare(two[0], other)
    longer = store(tmp_path / "longer", {"u0": {"layer_0": normal(80, 6)}})
    with pytest.raises(SamplingError, match=r"u0: 0.40 s in .*, 1.60 s in .*longer \(extract both"):
        compare(two[0], longer)
    with pytest.raises(SamplingError, match="measures: 'cka' is not one of mean_cca"):
        compare(*two, measures=["cka"])
    with pytest.raises(SamplingError, match=r"none of the layers asked for; it has layer_0, layer_1"):
        compare(*two, layers=["layer_9"])
    with pytest.raises(SamplingError, match="layers: 'layer_9' is in neither store"):
        compare(*two, layers=["layer_0", "layer_9"])
    constant = store(tmp_path / "constant", {f"u{u}": {"c": torch.ones(20 + u, 3)} for u in range(30)})
    with pytest.raises(SamplingError, match="constant: c: all frames are the same"):
        compare(two[0], constant)
    one = store(tmp_path / "one", {"u3": {"layer_0": normal(23, 6)}})
    with pytest.raises(SamplingError, match="10 neighbours in other utterances, which have 0 frames"):
        compare(one, one)
    found = compare(one, two[1], measures=("pwcca",))
    assert found.best["pwcca"][0].low is None
    first, second, third = found.warnings
    assert first.startswith("23 frames for 6 + 7 dimensions")
    assert "(give 130 frames or more" in first
    assert second == "1 utterances: no intervals (they need 20)"
    assert third == "29 utterances are in one of the folders only and were left out"
    assert compare(*two, measures=("pwcca",)).warnings == []


def test_frames_are_limited_and_drawn_by_the_seed(two):
    runs = [compare(*two, measures=("linear_cka",), frames=300, seed=seed) for seed in (0, 0, 1)]
    assert all(300 <= each.frames < 350 for each in runs)
    assert runs[0].values == runs[1].values
    assert runs[0].values != runs[2].values
