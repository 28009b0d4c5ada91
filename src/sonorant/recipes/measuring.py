"""From figures to result rows that say where they come from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from sonorant.data.manifest import Clip
from sonorant.evaluate.clusters import Match
from sonorant.evaluate.critics import CriticScore
from sonorant.evaluate.information import Score
from sonorant.evaluate.plateau import Plateau
from sonorant.evaluate.probe import Accuracy
from sonorant.evaluate.rank import Rank
from sonorant.evaluate.rows import Row, commit, machine
from sonorant.evaluate.sampling import Figure, Parts

LABEL_FREE, LABELLED, PHONES = "label-free information", "labelled information", "phone probe"
CLUSTERS, RANK = "clusters and phones", "rank"


LINEAR = "linear"
HIDDEN = {LINEAR: None, "mlp": 512}  # units of the hidden layer of each kind of probe
CRITICS = {"infonce": "InfoNCE", "nwj": "NWJ", "dv": "Donsker-Varadhan"}


def gap(seconds: float, frame_seconds: float) -> str:
    """A gap as rows have it: how many frames it is, where it is a whole number of them."""
    frames = seconds / frame_seconds
    whole = abs(frames - round(frames)) < 1e-3
    return f"gap {seconds:g} s" + (f" = {round(frames)} x {frame_seconds:g} s" if whole else "")


@dataclass(frozen=True)
class Measurer:
    """Makes rows that say where they come from."""

    benchmark: str
    seed: int = 0
    commit: str = field(default_factory=commit)
    machine: str = field(default_factory=machine)

    def row(
        self,
        subject: str,
        task: str,
        metric: str,
        value: float,
        *,
        low: float | None = None,
        high: float | None = None,
        n: int | None = None,
        seconds: float | None = None,
    ) -> Row:
        return Row(
            benchmark=self.benchmark,
            subject=subject,
            task=task,
            metric=metric,
            value=value,
            low=low,
            high=high,
            n=n,
            seed=self.seed,
            seconds=seconds,
            commit=self.commit,
            machine=self.machine,
        )

    def figure(
        self, subject: str, task: str, metric: str, figure: Figure, *, n: int, seconds: float | None = None
    ) -> Row:
        """A value of `n` utterances with its interval, and the wall time that it took if that is told."""
        return self.row(
            subject, task, metric, figure.value, low=figure.low, high=figure.high, n=n, seconds=seconds
        )

    def information(self, subject: str, score: Score, kind: str = LINEAR) -> list[Row]:
        """The bound, its shuffled control, in nats and bits, and the share of the entropy."""
        task = LABELLED if kind == LINEAR else f"{LABELLED}, {kind}"
        if score.targets != "units":
            task = f"{LABEL_FREE} (K={score.bound.labels}, {gap(score.gap, score.frame_seconds)})"
        bound, control, n = score.bound, score.shuffled, score.test_utterances
        rows = [
            self.row(
                subject, task, "nats", bound.nats, low=bound.low, high=bound.high, n=n, seconds=score.seconds
            ),
            self.row(subject, task, "bits", bound.bits, n=n),
            self.row(subject, task, "share of entropy", bound.ratio, n=n),
        ]
        if control is not None:
            name = f"{subject}, shuffled"
            rows.append(self.row(name, task, "nats", control.nats, low=control.low, high=control.high, n=n))
        return rows

    def plateau(self, subject: str, scores: Sequence[Score], found: Plateau) -> Row:
        """Where the bound leads to over the scores' numbers of clusters."""
        task = f"{LABEL_FREE} (K to infinity, {gap(scores[0].gap, scores[0].frame_seconds)})"
        n = scores[0].test_utterances
        return self.row(subject, task, "nats", found.nats, low=found.low, high=found.high, n=n)

    def critic(self, subject: str, score: CriticScore) -> list[Row]:
        """A critic's bound in nats and bits, its shuffled control, and what InfoNCE cannot exceed."""
        task = f"{CRITICS[score.bound]} bound ({gap(score.gap, score.frame_seconds)})"
        figure, control, n = score.figure, score.shuffled, score.test_utterances
        rows = [
            self.figure(subject, task, "nats", figure, n=n, seconds=score.seconds),
            self.row(subject, task, "bits", figure.value / math.log(2), n=n),
            self.figure(f"{subject}, shuffled", task, "nats", control, n=n),
        ]
        if score.ceiling is not None:
            rows.append(self.row(f"{subject}, at most (log of the batch)", task, "nats", score.ceiling, n=n))
        return rows

    def accuracy(self, subject: str, accuracy: Accuracy, kind: str = LINEAR) -> Row:
        return self.row(
            subject,
            PHONES if kind == LINEAR else f"{PHONES}, {kind}",
            "accuracy",
            accuracy.accuracy,
            low=accuracy.low,
            high=accuracy.high,
            n=accuracy.test_utterances,
            seconds=accuracy.seconds,
        )

    def ranks(self, subject: str, found: Rank) -> list[Row]:
        """RankMe, effective rank, participation ratio; the number of dimensions is the most they can be."""
        task, n = f"{RANK} (of {found.dim})", found.utterances
        figures = {
            "RankMe": found.rankme,
            "effective rank": found.effective,
            "participation ratio": found.participation,
        }
        return [
            self.figure(subject, task, name, figure, n=n, seconds=found.seconds)
            for name, figure in figures.items()
        ]

    def match(self, subject: str, found: Match) -> list[Row]:
        """PNMI, plugged in and corrected, both purities, and the PNMI of clusters that know nothing."""
        task, n = f"{CLUSTERS} (K={found.clusters})", found.test_utterances
        figures = {"PNMI": found.pnmi, "PNMI, corrected": found.corrected, "phone purity": found.phone_purity}
        rows = [
            self.figure(subject, task, name, figure, n=n, seconds=found.seconds)
            for name, figure in (figures | {"cluster purity": found.cluster_purity}).items()
        ]
        return [*rows, self.row(f"{subject}, shuffled", task, "PNMI", found.shuffled, n=n)]


def best_layer(scores: dict[str, Score]) -> str:
    """The layer that tells most."""
    return max(scores, key=lambda name: scores[name].bound.nats)


def parts(train: Sequence[Clip], test: Sequence[Clip], *, every: int = 8) -> Parts:
    """Utterances to fit on, every `every`-th of them to choose on, and others to measure on."""
    fitted = [clip.id for number, clip in enumerate(train) if number % every]
    chosen = [clip.id for number, clip in enumerate(train) if not number % every]
    return Parts(tuple(fitted), tuple(chosen), tuple(clip.id for clip in test))
