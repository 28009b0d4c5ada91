"""How alike two models represent the same speech: every layer of one against every layer of the other.

CCA and linear CKA rest on all paired frames, as sums over batches in double precision; RBF CKA and nearest
neighbours on `SAMPLED` random ones. Beside each figure stands its floor: the same with one model's frames
moved round by half a batch, to other utterances, in their order, so that what neighbours in time share is in
it. Controls that have to be 1: a layer against itself, and against a random rotation of itself.

Intervals are for each layer with the layer of the second model that is most like it: a jackknife over
`GROUPS` groups of utterances (each left out once), with Student's t. A bootstrap would do harm here: it
repeats frames, which are then each other's neighbours and make correlations look higher.
"""

import time
from collections.abc import Callable, Sequence

import msgspec

from sonorant.evaluate.alike import CANONICAL, MEASURES
from sonorant.evaluate.layers import Layer, Setting, Values
from sonorant.evaluate.pairs import Pairs, pair
from sonorant.evaluate.sampling import GROUPS, SamplingError
from sonorant.evaluate.store import FeatureStore

FRAMES = 200_000  # at most so many pairs
SAMPLED = 1000  # of them for measures that need n x n matrices
ENOUGH = 10  # frames for each dimension
Progress = Callable[[int, int], None]


class Best(msgspec.Struct, frozen=True):
    """The layer of the second model that is most like a layer of the first."""

    layer: str
    value: float
    floor: float
    low: float | None  # 95 % interval; null where there are fewer than `GROUPS` utterances
    high: float | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All figures; matrices have the first model's layers in rows, the second's in columns."""

    first: str
    second: str
    first_layers: tuple[str, ...]
    second_layers: tuple[str, ...]
    values: dict[str, list[list[float]]]  # of each measure; the first model weighs in PWCCA
    floors: dict[str, list[list[float]]]
    best: dict[str, list[Best]]  # of each measure, for each layer of the first model
    itself: dict[str, float]  # the lowest over the first model's layers; has to be 1
    rotated: dict[str, float]
    utterances: int
    frames: int  # pairs
    sampled: int
    frame_seconds: float  # from pair to pair
    seed: int
    seconds: float  # of wall time
    warnings: list[str]


Chosen = tuple[tuple[str, ...], tuple[str, ...]]
Matrix = list[list[float]]


def compare(
    first: FeatureStore,
    second: FeatureStore,
    *,
    names: tuple[str, str] = ("first", "second"),
    layers: Sequence[str] | None = None,
    measures: Sequence[str] = MEASURES,
    frames: int = FRAMES,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Compares features of the same clips; `layers` names those of both stores that count, else all.

    Utterances are drawn by the seed until `frames` pairs are full. SamplingError: a measure or layer is not
    there, the stores do not fit, or a layer does not vary.
    """
    started = time.perf_counter()
    if unknown := [measure for measure in measures if measure not in MEASURES]:
        raise SamplingError(f"measures: {unknown[0]!r} is not one of {', '.join(MEASURES)}")
    chosen = _layers(first, second, layers)
    pairs = pair(first, second, frames=frames, seed=seed)
    setting = Setting(pairs, pairs.sample(SAMPLED, seed=seed), tuple(measures), seed)
    values, floors, controls, best = _figures(setting, chosen, progress)
    return Comparison(
        first=names[0],
        second=names[1],
        first_layers=chosen[0],
        second_layers=chosen[1],
        values=values,
        floors=floors,
        best=best,
        itself={measure: min(itself[measure] for itself, _ in controls) for measure in measures},
        rotated={measure: min(rotated[measure] for _, rotated in controls) for measure in measures},
        utterances=len(pairs.ids),
        frames=pairs.frames,
        sampled=len(setting.sample.owners),
        frame_seconds=max(first.frame_seconds, second.frame_seconds),
        seed=seed,
        seconds=time.perf_counter() - started,
        warnings=_warnings(pairs, chosen, measures),
    )


def _figures(
    setting: Setting, chosen: Chosen, progress: Progress | None
) -> tuple[dict[str, Matrix], dict[str, Matrix], list[tuple[Values, Values]], dict[str, list[Best]]]:
    """Values, floors, controls and best layers, one layer of the first model after the other."""
    values: dict[str, Matrix] = {measure: [] for measure in setting.measures}
    floors: dict[str, Matrix] = {measure: [] for measure in setting.measures}
    best: dict[str, list[Best]] = {measure: [] for measure in setting.measures}
    controls = []
    others = [setting.layer(1, name) for name in chosen[1]]
    for number, name in enumerate(chosen[0], start=1):
        layer = setting.layer(0, name)
        controls.append(setting.controls(layer))
        real, shifted = setting.against(layer, others), setting.against(layer, others, shifted=True)
        best_places = {measure: _highest([each[measure] for each in real]) for measure in setting.measures}
        errors = {}
        if len(setting.pairs.ids) >= GROUPS:
            errors = setting.errors(layer, {place: others[place] for place in set(best_places.values())})
        for measure, place in best_places.items():
            values[measure].append([each[measure] for each in real])
            floors[measure].append([each[measure] for each in shifted])
            best[measure].append(
                _best(
                    others[place],
                    real[place][measure],
                    shifted[place][measure],
                    errors[place][measure] if errors else None,
                )
            )
        if progress is not None:
            progress(number, len(chosen[0]))
    return values, floors, controls, best


def _highest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def _best(layer: Layer, value: float, floor: float, error: float | None) -> Best:
    low, high = (None, None) if error is None else (value - error, value + error)
    return Best(layer.name, value, floor, low, high)


def _layers(first: FeatureStore, second: FeatureStore, wanted: Sequence[str] | None) -> Chosen:
    """Those of each store that are wanted, in the store's order."""
    found = []
    for store in (first, second):
        names = tuple(name for name in store.layers if wanted is None or name in wanted)
        if not names:
            raise SamplingError(
                f"{store.path}: none of the layers asked for; it has {', '.join(store.layers)}"
            )
        found.append(names)
    if unknown := [name for name in wanted or () if name not in (*first.layers, *second.layers)]:
        raise SamplingError(
            f"layers: {unknown[0]!r} is in neither store; there are "
            f"{', '.join(dict.fromkeys((*first.layers, *second.layers)))}"
        )
    return found[0], found[1]


def _warnings(pairs: Pairs, chosen: Chosen, measures: Sequence[str]) -> list[str]:
    told = []
    widths = [
        max(store.dims[name] for name in names) for store, names in zip(pairs.stores, chosen, strict=True)
    ]
    if set(CANONICAL) & set(measures) and pairs.frames < ENOUGH * sum(widths):
        told.append(
            f"{pairs.frames} frames for {widths[0]} + {widths[1]} dimensions: canonical correlations are "
            f"high by chance (give {ENOUGH * sum(widths)} frames or more, and read the floors)"
        )
    if len(pairs.ids) < GROUPS:
        told.append(f"{len(pairs.ids)} utterances: no intervals (they need {GROUPS})")
    if left := len(pairs.stores[0].lengths.keys() ^ pairs.stores[1].lengths.keys()):
        told.append(f"{left} utterances are in one of the folders only and were left out")
    return told
