"""What `sonorant measure` does: every figure of every layer of a feature store, and of its controls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from sonorant.config import ConfigError
from sonorant.data.manifest import Clip
from sonorant.encoders.base import FRONTEND
from sonorant.evaluate.clusters import match
from sonorant.evaluate.critics import CriticConfig, by_critic
from sonorant.evaluate.information import InformationConfig, Score, curve, labelled
from sonorant.evaluate.labels import check_units
from sonorant.evaluate.linear import ProbeConfig
from sonorant.evaluate.plateau import Point, plateau
from sonorant.evaluate.probe import probe
from sonorant.evaluate.rank import rank
from sonorant.evaluate.rows import Row
from sonorant.evaluate.store import FeatureStore
from sonorant.recipes.controls import controls
from sonorant.recipes.features import TARGETS
from sonorant.recipes.measuring import CRITICS, HIDDEN, LINEAR, Measurer

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure of a layer. ConfigError: names that are not there, or clusters without clips."""

    targets: FeatureStore | None = None  # whose clusters are predicted; else `TARGETS` of the store itself
    target_layer: str | None = None
    clips: Sequence[Clip] | None = None  # with units: the labelled bound and the probe too
    codes: Sequence[int] = (InformationConfig().codes,)  # numbers of clusters of the label-free score
    gaps: Sequence[float] = (InformationConfig().gap,)  # seconds
    clusters: Sequence[int] = ()  # numbers of clusters that are compared with units
    bounds: Sequence[str] = ()  # of critics
    probes: Sequence[str] = (LINEAR,)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clusters and self.clips is None:
            raise ConfigError("clusters: are compared with units, which a manifest has to give (--manifest)")
        known: tuple[tuple[str, Sequence[str], Mapping[str, object]], ...] = (
            ("bounds", self.bounds, CRITICS),
            ("probe", self.probes, HIDDEN),
        )
        for option, given, names in known:
            if unknown := [name for name in given if name not in names]:
                raise ConfigError(f"{option}: {unknown[0]!r} is not one of {', '.join(names)}")
        for option, numbers, least in (("codes", self.codes, 2), ("gaps", self.gaps, 0)):
            if not numbers or min(numbers) < least:
                raise ConfigError(f"{option}: give numbers from {least} on, with commas between")


def measure(
    store: FeatureStore,
    plan: Plan,
    *,
    layers: Sequence[str] | None = None,
    with_controls: bool = False,
    say: Say = lambda _: None,
) -> list[Row]:
    """The rows of these layers, or of all; `with_controls` those of a store's controls behind them.

    Label-free figures need frames that have not seen what comes later; with clips, the labelled ones are
    measured of others too, alone.
    """
    targets, target_layer = plan.targets, plan.target_layer
    if targets is None and (store.path / TARGETS).exists():
        targets, target_layer = FeatureStore(store.path / TARGETS), target_layer or FRONTEND
    if targets is None and target_layer is not None:
        targets = store  # for controls too, which have no such layer
    teller = _Teller(plan, targets, target_layer, Measurer("measure", plan.seed), say)
    if plan.clips is not None:
        check_units(store, plan.clips)  # which fails before anything is measured
    chosen, rows = tuple(layers or store.layers), list[Row]()
    for layer in chosen:
        rows += teller.rows(store, layer, f"{store.path.name} {layer}")
    if with_controls:
        teller = replace(teller, say=lambda _: None)  # that a control tells nothing needs no advice
        with TemporaryDirectory() as folder:
            for control in controls(store, chosen, Path(folder), seed=plan.seed, say=say):
                rows += teller.rows(control.store, control.layer, f"{store.path.name} {control.name}")
    return rows


@dataclass(frozen=True)
class _Teller:
    plan: Plan
    targets: FeatureStore | None
    target_layer: str | None
    measurer: Measurer
    say: Say

    def rows(self, store: FeatureStore, layer: str, subject: str) -> list[Row]:
        rows = list[Row]()
        if self.plan.clips is None or not store.sees_future:
            rows += self._label_free(store, layer, subject) + self._critics(store, layer, subject)
        rows += self.measurer.ranks(subject, rank(store, layer))
        return rows if self.plan.clips is None else rows + self._labelled(store, layer, subject)

    def _label_free(self, store: FeatureStore, layer: str, subject: str) -> list[Row]:
        scores = curve(
            store,
            layer,
            InformationConfig(seed=self.plan.seed),
            codes=self.plan.codes,
            gaps=self.plan.gaps,
            targets=self.targets,
            target_layer=self.target_layer,
        )
        rows = [row for score in scores for row in self.measurer.information(subject, score)]
        for gap in dict.fromkeys(score.gap for score in scores):
            rows += self._plateau(subject, [score for score in scores if score.gap == gap])
        if advice := advised(scores):
            self.say(f"{subject}: {advice}")
        return rows

    def _plateau(self, subject: str, scores: Sequence[Score]) -> list[Row]:
        """Where the bound leads to with more clusters, if that can be told."""
        points = [
            Point(each.bound.labels, each.bound.nats, each.bound.low, each.bound.high) for each in scores
        ]
        found = plateau(points, seed=self.plan.seed)
        if found is None:
            return []
        if found.doubt is not None:
            where = f"{subject}, gap {scores[0].gap:g} s"
            self.say(f"{where}: where more clusters lead to cannot be told: {found.doubt}")
            return []
        return [self.measurer.plateau(subject, scores, found)]

    def _critics(self, store: FeatureStore, layer: str, subject: str) -> list[Row]:
        rows = list[Row]()
        for bound in self.plan.bounds:
            for gap in self.plan.gaps:
                config = CriticConfig(seed=self.plan.seed, gap=gap)
                found = by_critic(
                    store, layer, bound, config, targets=self.targets, target_layer=self.target_layer
                )
                rows += self.measurer.critic(subject, found)
        return rows

    def _labelled(self, store: FeatureStore, layer: str, subject: str) -> list[Row]:
        clips, seed, rows = self.plan.clips or (), self.plan.seed, list[Row]()
        for kind in self.plan.probes:
            config = ProbeConfig(seed=seed, hidden=HIDDEN[kind])
            rows += self.measurer.information(subject, labelled(store, layer, clips, config), kind)
            rows.append(self.measurer.accuracy(subject, probe(store, layer, clips, config), kind))
        for codes in self.plan.clusters:
            rows += self.measurer.match(subject, match(store, layer, clips, codes, seed=seed))
        return rows


def advised(scores: Sequence[Score]) -> str | None:
    """What to do about bounds that tell nothing although there is something to tell; None if all tell."""
    below = [score for score in scores if score.bound.nats < 0 < score.bound.entropy]
    if not below:
        return None
    worst = min(below, key=lambda score: score.bound.nats)
    utterances = worst.test_utterances
    return (
        f"a bound below 0 (K={worst.bound.labels}) tells nothing: its probe was fitted to "
        f"{worst.train_frames} frames and measured on {utterances} utterances. Give more speech: an hour if "
        "you can, ten minutes at least; where that is there, the layer does not tell these targets"
    )
