"""From feature stores to result rows: what layers tell without labels, and with them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from sonorant.data.manifest import Clip
from sonorant.evaluate.information import InformationConfig, Score, curve, label_free, labelled
from sonorant.evaluate.linear import ProbeConfig
from sonorant.evaluate.probe import Accuracy, probe
from sonorant.evaluate.rows import Row, commit, machine
from sonorant.evaluate.sampling import Parts
from sonorant.evaluate.store import FeatureStore

LABEL_FREE, LABELLED, PHONES = "label-free information", "labelled information", "phone probe"


@dataclass(frozen=True)
class Measurer:
    """Makes rows that say where they come from."""

    benchmark: str
    seed: int = 0
    commit: str = field(default_factory=commit)
    machine: str = field(default_factory=machine)

    def row(self, subject: str, task: str, metric: str, value: float, **rest: float | None) -> Row:
        values = {"seed": self.seed, **rest}
        return Row(
            benchmark=self.benchmark,
            subject=subject,
            task=task,
            metric=metric,
            value=value,
            commit=self.commit,
            machine=self.machine,
            **values,
        )

    def information(self, subject: str, score: Score) -> list[Row]:
        """The bound, its shuffled control, in nats and bits, and the share of the entropy."""
        task = LABELLED if score.targets == "units" else LABEL_FREE
        where = "" if score.targets == "units" else f" (K={score.bound.labels}, gap {score.gap:g} s)"
        common = {"n": score.test_utterances, "seconds": score.seconds}
        bound, control = score.bound, score.shuffled
        return [
            self.row(subject, task + where, "nats", bound.nats, low=bound.low, high=bound.high, **common),
            self.row(subject, task + where, "bits", bound.bits, n=score.test_utterances),
            self.row(subject, task + where, "share of entropy", bound.ratio, n=score.test_utterances),
            self.row(
                f"{subject}, shuffled",
                task + where,
                "nats",
                control.nats,
                low=control.low,
                high=control.high,
                n=score.test_utterances,
            ),
        ]

    def accuracy(self, subject: str, accuracy: Accuracy) -> Row:
        return self.row(
            subject,
            PHONES,
            "accuracy",
            accuracy.accuracy,
            low=accuracy.low,
            high=accuracy.high,
            n=accuracy.test_utterances,
            seconds=accuracy.seconds,
        )


def measure(
    store: FeatureStore,
    *,
    layers: Sequence[str] | None = None,
    targets: FeatureStore | None = None,
    target_layer: str | None = None,
    clips: Sequence[Clip] | None = None,
    whole_curve: bool = False,
    seed: int = 0,
) -> list[Row]:
    """The label-free score of layers, over a curve if asked; with clips that have units the labelled bound
    and the probe too."""
    measurer = Measurer("measure", seed)
    information = InformationConfig(seed=seed)
    rows: list[Row] = []
    for layer in layers or store.layers:
        subject = f"{store.path.name} {layer}"
        space = {"targets": targets, "target_layer": target_layer}
        if whole_curve:
            scores = curve(store, layer, information, **space)
        else:
            scores = [label_free(store, layer, information, **space)]
        rows += [row for score in scores for row in measurer.information(subject, score)]
        if clips is not None:
            config = ProbeConfig(seed=seed)
            rows += measurer.information(subject, labelled(store, layer, clips, config))
            rows.append(measurer.accuracy(subject, probe(store, layer, clips, config)))
    return rows


def best_layer(scores: dict[str, Score]) -> str:
    """The layer that tells most."""
    return max(scores, key=lambda name: scores[name].bound.nats)


def parts(train: Sequence[Clip], test: Sequence[Clip], *, every: int = 8) -> Parts:
    """Utterances to fit on, every `every`-th of them to choose on, and others to measure on."""
    fitted = [clip.id for number, clip in enumerate(train) if number % every]
    chosen = [clip.id for number, clip in enumerate(train) if not number % every]
    return Parts(tuple(fitted), tuple(chosen), tuple(clip.id for clip in test))


def relative(new: float, old: float) -> float:
    """How much lower the new figure is, as a share of the old one."""
    return (old - new) / old if old else math.nan
