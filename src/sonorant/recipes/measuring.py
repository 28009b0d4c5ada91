"""From feature stores to result rows: what layers tell without labels, and with them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sonorant.config import ConfigError
from sonorant.data.manifest import Clip
from sonorant.evaluate.clusters import Match, match
from sonorant.evaluate.information import InformationConfig, Score, curve, label_free, labelled
from sonorant.evaluate.linear import ProbeConfig
from sonorant.evaluate.probe import Accuracy, probe
from sonorant.evaluate.rank import Rank, rank
from sonorant.evaluate.rows import Row, commit, machine
from sonorant.evaluate.sampling import Parts
from sonorant.evaluate.store import FeatureStore
from sonorant.recipes.features import FRONTEND, TARGETS

LABEL_FREE, LABELLED, PHONES = "label-free information", "labelled information", "phone probe"
CLUSTERS, RANK = "clusters and phones", "rank"


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

    def information(self, subject: str, score: Score) -> list[Row]:
        """The bound, its shuffled control, in nats and bits, and the share of the entropy."""
        task = LABELLED
        if score.targets != "units":
            task = f"{LABEL_FREE} (K={score.bound.labels}, gap {score.gap:g} s)"
        bound, control, n = score.bound, score.shuffled, score.test_utterances
        return [
            self.row(
                subject, task, "nats", bound.nats, low=bound.low, high=bound.high, n=n, seconds=score.seconds
            ),
            self.row(subject, task, "bits", bound.bits, n=n),
            self.row(subject, task, "share of entropy", bound.ratio, n=n),
            self.row(
                f"{subject}, shuffled", task, "nats", control.nats, low=control.low, high=control.high, n=n
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

    def ranks(self, subject: str, found: Rank) -> list[Row]:
        """RankMe, effective rank and participation ratio; the number of dimensions is the most they can be."""
        task, n = f"{RANK} (of {found.dim})", found.utterances
        figures = {
            "RankMe": found.rankme,
            "effective rank": found.effective,
            "participation ratio": found.participation,
        }
        return [
            self.row(subject, task, name, figure.value, low=figure.low, high=figure.high, n=n)
            for name, figure in figures.items()
        ]

    def match(self, subject: str, found: Match) -> list[Row]:
        """PNMI and both purities, and the PNMI of clusters that know nothing of the phones."""
        task, n = f"{CLUSTERS} (K={found.clusters})", found.test_utterances
        figures = {"PNMI": found.pnmi, "phone purity": found.phone_purity}
        rows = [
            self.row(subject, task, name, figure.value, low=figure.low, high=figure.high, n=n)
            for name, figure in (figures | {"cluster purity": found.cluster_purity}).items()
        ]
        return [*rows, self.row(f"{subject}, shuffled", task, "PNMI", found.shuffled, n=n)]


def measure(
    store: FeatureStore,
    *,
    layers: Sequence[str] | None = None,
    targets: FeatureStore | None = None,
    target_layer: str | None = None,
    clips: Sequence[Clip] | None = None,
    whole_curve: bool = False,
    clusters: Sequence[int] = (),
    seed: int = 0,
) -> list[Row]:
    """The label-free score of layers, over a curve if asked; with clips that have units the labelled bound
    and the probe too, and these alone where the frames have seen the future. With numbers of `clusters`,
    what these tell of the units as well. ConfigError: they are given without clips.

    Without `targets`, those that `extract_to_score` left in the store are predicted, if it did.
    """
    if targets is None and (store.path / TARGETS).exists():
        targets, target_layer = FeatureStore(store.path / TARGETS), target_layer or FRONTEND
    if clusters and clips is None:
        raise ConfigError("clusters: are compared with units, which a manifest has to give (--manifest)")
    measurer = Measurer("measure", seed)
    information = InformationConfig(seed=seed)
    rows: list[Row] = []
    for layer in layers or store.layers:
        subject = f"{store.path.name} {layer}"
        if clips is None or not store.sees_future:
            score = curve if whole_curve else _single
            scores = score(store, layer, information, targets=targets, target_layer=target_layer)
            rows += [row for score in scores for row in measurer.information(subject, score)]
        rows += measurer.ranks(subject, rank(store, layer))
        if clips is not None:
            config = ProbeConfig(seed=seed)
            rows += measurer.information(subject, labelled(store, layer, clips, config))
            rows.append(measurer.accuracy(subject, probe(store, layer, clips, config)))
        for codes in clusters:
            assert clips is not None
            rows += measurer.match(subject, match(store, layer, clips, codes, seed=seed))
    return rows


def _single(
    store: FeatureStore,
    layer: str,
    config: InformationConfig,
    *,
    targets: FeatureStore | None,
    target_layer: str | None,
) -> list[Score]:
    return [label_free(store, layer, config, targets=targets, target_layer=target_layer)]


def best_layer(scores: dict[str, Score]) -> str:
    """The layer that tells most."""
    return max(scores, key=lambda name: scores[name].bound.nats)


def parts(train: Sequence[Clip], test: Sequence[Clip], *, every: int = 8) -> Parts:
    """Utterances to fit on, every `every`-th of them to choose on, and others to measure on."""
    fitted = [clip.id for number, clip in enumerate(train) if number % every]
    chosen = [clip.id for number, clip in enumerate(train) if not number % every]
    return Parts(tuple(fitted), tuple(chosen), tuple(clip.id for clip in test))
