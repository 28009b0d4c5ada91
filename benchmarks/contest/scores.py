"""What a contestant's features tell before anything is fine-tuned: the label-free score and two probes, and
beside them what else may tell how good a layer is: effective ranks, and how clusters match phones."""

import shutil
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Any

import msgspec

from contest.entries import Entry
from contest.figures import EFFECTIVE, NATS, OWN, PHONES, PNMI, PURITY, RANKME, SPEAKERS, of_layer
from contest.methods import Bound, stacked
from sonorant.data.manifest import Clip
from sonorant.encoders.base import FRONTEND, Upstream
from sonorant.evaluate.clusters import match
from sonorant.evaluate.information import InformationConfig, label_free
from sonorant.evaluate.linear import ProbeConfig
from sonorant.evaluate.probe import Accuracy, probe
from sonorant.evaluate.rank import rank
from sonorant.evaluate.rows import Row
from sonorant.evaluate.sampling import Parts
from sonorant.evaluate.store import FeatureStore
from sonorant.recipes.demo import FITTED, RATES, aligned
from sonorant.recipes.features import SECTION, extract, spectral_shape
from sonorant.recipes.measuring import parts
from sonorant.recipes.settings import load_encoder

CLUSTERS = 100  # that are compared with phones, as many as HuBERT's first
FEW = 10  # clips: speakers with fewer are not told from others


def measure(entry: Entry) -> list[Row]:
    """Of each layer the label-free scores, ranks, how clusters match phones, and both probes; and of the best
    layers the same once more: by the label-free score or, of a probe, by its validation part."""
    model, features = made(entry), entry.folder / "features"
    train, test = aligned(entry.corpus, "paired-1h", FITTED), aligned(entry.corpus, "test")
    clips = [*train, *test]
    targets = entry.root / "spectral_shapes"
    if not targets.exists():
        extract(spectral_shape(stacked()), clips, targets, provenance={})
    shutil.rmtree(features, ignore_errors=True)  # of an interrupted stage
    for name, length in (("whole", None), ("sections", SECTION)):
        extract(model, clips, features / name, provenance={}, sections=length)
    whole, sections = (FeatureStore(features / name) for name in ("whole", "sections"))
    layers, split = layers_of(whole), parts(train, test)
    free = _label_free(entry, sections, FeatureStore(targets), layers, split)
    best = max(free, key=lambda layer: free[layer][0].value)
    figures = {
        layer: [
            *free[layer],
            *_ranks(entry, whole, layer),
            *_clusters(entry, whole, layer, clips, split),
        ]
        for layer in layers
    }
    rows = [*figures[best], *(by_layer(row) for layer in layers for row in figures[layer])]
    rows += probed(entry, PHONES, whole, layers, clips, split)
    spoken = named(train)
    if len({clip.speaker for clip in spoken}) > 1:
        told = [
            msgspec.structs.replace(clip, units=[(clip.speaker or "", 0.0, clip.seconds)]) for clip in spoken
        ]
        rows += probed(entry, SPEAKERS, whole, layers, told, shared_out(told))
    shutil.rmtree(features)
    return rows


def by_layer(row: Row) -> Row:
    """The row of one layer among others."""
    return msgspec.structs.replace(row, metric=of_layer(row.metric))


def made(entry: Entry) -> Upstream:
    """What is measured."""
    if isinstance(entry.contestant, Bound):
        return entry.contestant.make()
    return load_encoder(entry.folder / "pretrain")


def layers_of(store: FeatureStore) -> list[str]:
    """Those of the context, or the front end where there is nothing else."""
    return [name for name in store.layers if name != FRONTEND] or [FRONTEND]


def _label_free(
    entry: Entry, store: FeatureStore, targets: FeatureStore, layers: Sequence[str], split: Parts
) -> dict[str, list[Row]]:
    """What each layer tells of the same targets for all, and of its own frames."""
    config = InformationConfig(seed=entry.seed)
    spaces: dict[str, dict[str, Any]] = {NATS: {"targets": targets, "target_layer": FRONTEND}, OWN: {}}
    found: dict[str, list[Row]] = {layer: [] for layer in layers}
    for layer, (metric, space) in product(layers, spaces.items()):
        score = label_free(store, layer, config, parts=split, control=False, **space)
        bound, n = score.bound, score.test_utterances
        row = entry.row(
            metric, bound.nats, task=layer, low=bound.low, high=bound.high, n=n, seconds=score.seconds
        )
        found[layer].append(row)
    return found


def _ranks(entry: Entry, store: FeatureStore, layer: str) -> list[Row]:
    found = rank(store, layer)
    figures = {RANKME: found.rankme, EFFECTIVE: found.effective}
    return [
        entry.row(name, figure.value, task=layer, low=figure.low, high=figure.high, n=found.utterances)
        for name, figure in figures.items()
    ]


def _clusters(
    entry: Entry, store: FeatureStore, layer: str, clips: Sequence[Clip], split: Parts
) -> list[Row]:
    """PNMI is the corrected one: layers of different front ends have different numbers of frames."""
    found = match(store, layer, clips, CLUSTERS, parts=split, seed=entry.seed)
    figures = {PNMI: found.corrected, PURITY: found.phone_purity}
    return [
        entry.row(name, figure.value, task=layer, low=figure.low, high=figure.high, n=found.test_utterances)
        for name, figure in figures.items()
    ]


def probed(
    entry: Entry, metric: str, store: FeatureStore, layers: Sequence[str], clips: Sequence[Clip], split: Parts
) -> list[Row]:
    """The accuracy of the layer that does best on the validation part, then that of each."""
    config = ProbeConfig(seed=entry.seed, learning_rates=RATES)
    found = {layer: probe(store, layer, clips, config, parts=split) for layer in layers}
    rows = {
        layer: entry.row(
            metric,
            each.accuracy,
            task=layer,
            low=each.low,
            high=each.high,
            n=each.test_utterances,
            seconds=each.seconds,
        )
        for layer, each in found.items()
    }
    best = min(found, key=lambda layer: validation(found[layer]))
    return [rows[best], *map(by_layer, rows.values())]


def validation(found: Accuracy) -> float:
    """The cross-entropy on the validation part, in nats."""
    return min(found.sweep.values())


def named(clips: Sequence[Clip]) -> list[Clip]:
    """Clips of speakers who have enough of them."""
    counts = Counter(clip.speaker for clip in clips if clip.speaker)
    return [clip for clip in clips if counts[clip.speaker] >= FEW]


def shared_out(clips: Sequence[Clip]) -> Parts:
    """Of each speaker's clips every third to measure on, and every sixth to choose on."""
    places: Counter[str | None] = Counter()
    found: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for clip in clips:
        place = places[clip.speaker] % 6
        found["test" if place in (0, 3) else "validation" if place == 1 else "train"].append(clip.id)
        places[clip.speaker] += 1
    return Parts(**{name: tuple(ids) for name, ids in found.items()})
