"""How much a representation tells, in nats: lower bounds on mutual information, with and without labels.

Alexander H. Liu, Sung-Lin Yeh and James Glass, "Revisiting self-supervised learning of speech representation
from a mutual information perspective", ICASSP 2024, https://arxiv.org/abs/2401.08833. For two sections of an
utterance with representations Z_a and Z_b, k-means f and a linear probe q,

    I(Z_a; Z_b) >= I(Z_a; f(Z_b)) >= H(f(Z_b)) - E[-log q(f(Z_b) | Z_a)]        without labels
    I(Z; Y)     >= H(Y) - E[-log q(Y | Z)]                                      with labels

Here Z_a and Z_b are single frames, Z_b `gap` seconds after Z_a. Four things keep the bound one: Z_a has not
seen the audio of Z_b, f and q see training utterances only, the cross-entropy is that of held-out utterances,
and the entropy is that of the same held-out labels. For the first, utterances are encoded in sections, each
with the two seconds before it and nothing behind it, and only pairs across the end of one count. (Without
what came before, a front end that is normalised over the utterance is normalised over half a second, and
tells neither level nor silence.) Features of whole utterances will do where the network is causal; others are
refused, because they have seen what they should predict. The entropy carries Miller and
Madow's correction, (observed labels - 1) / 2N; the plug-in estimate is reported beside it. Neighbouring
frames are alike, which makes the correction too small rather than too large.

The probe of clusters knows where they lie: its logits are (z W + v) . c_k + b_k, with the centroids c_k in
their first 16 principal directions. That is what Bayes' rule gives if frames and targets are jointly
Gaussian, b_k aside, and it learns 16 directions of z where a weight for each cluster is 100 of them. With as
few pairs as half an hour of speech has (5 to 15 thousand) the free probe is fitted so badly that the score
follows the number of frames a second and of dimensions rather than what they tell.

The label-free score is `label_free` with its default settings: 100 clusters and a gap of 0.1 s. What two
frames share at a gap within a syllable is mostly phonetic; what they share over seconds is mostly speaker and
channel. What to mind when reading it:

- It cannot exceed log(codes). Compare scores of the same codes, gap, utterances and budget; read the
  curve over codes and gaps and the ratio of information to entropy, not one number.
- Targets live in the model's own space, and features that are merely smooth predict themselves well: frames
  of an untrained network on overlapping windows do, and so do all that have heard the same two seconds. Where
  models are compared, name one fixed space for all (`targets`: spectral shapes, which recipes/features.py
  makes), which no model can make easier to predict.
- Level and silence are foretold best, by features that hardly tell phones apart: targets that hold them
  reward those. Spectral shapes are log-mel frames without their level.
- The shuffled control, targets from other utterances, has to be about zero. It may be a little below, as may
  any bound that says nothing; nothing is clipped.
"""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec
import torch
from jaxtyping import Float
from torch import Tensor

from sonorant.data.manifest import Clip
from sonorant.evaluate.labels import labelled_frames
from sonorant.evaluate.later import Later, sampled
from sonorant.evaluate.linear import ProbeConfig, fit, standardizer
from sonorant.evaluate.sampling import (
    Examples,
    Parts,
    Sections,
    interval,
    resamples,
)
from sonorant.evaluate.store import FeatureStore
from sonorant.nn.kmeans import kmeans

CODES, GAPS = (50, 100, 200, 500), (0.05, 0.1, 0.2, 0.5, 1.0)  # of a whole curve; gaps in seconds
RANK = 16  # principal directions of the centroids that the probe of clusters reads
CLUSTERED = 10_000  # training frames that k-means is fitted to, or fifty a code if that is more


class InformationConfig(ProbeConfig, frozen=True, kw_only=True):
    """The settings of the label-free score; the defaults are the score that the project reports."""

    codes: int = 100
    gap: float = 0.1  # seconds, rounded to frames
    frames: int = 30_000
    updates: int = 480
    learning_rates: tuple[float, ...] = (3e-4, 1e-3, 1e-2)


@dataclass(frozen=True)
class Bound:
    """A lower bound in nats with its 95 % interval over held-out utterances, and the terms it is made of."""

    nats: float
    low: float
    high: float
    entropy: float  # of the held-out labels, corrected
    plugin_entropy: float  # the same, not corrected
    cross_entropy: float  # of the held-out labels given the frames
    labels: int  # clusters or classes
    learning_rate: float

    @property
    def bits(self) -> float:
        return self.nats / math.log(2)

    @property
    def ratio(self) -> float:
        """The share of the entropy that the frames tell; 0 where there is nothing to tell."""
        return self.nats / self.entropy if self.entropy else 0.0


@dataclass(frozen=True)
class Score:
    """What a layer tells of its targets, and what that rests on."""

    layer: str
    targets: str  # the layer whose clusters are predicted, or "units"
    gap: float  # seconds from a frame's centre to its target's
    frame_seconds: float  # from one target frame to the next
    bound: Bound
    shuffled: Bound | None  # what it tells of shuffled targets; None: not measured
    train_frames: int
    test_frames: int
    test_utterances: int
    unseen: int  # test frames whose label is in no training utterance
    seed: int
    seconds: float  # of wall time


def label_free(
    store: FeatureStore,
    layer: str,
    config: InformationConfig | None = None,
    *,
    targets: FeatureStore | None = None,
    target_layer: str | None = None,
    parts: Parts | None = None,
    control: bool = True,
) -> Score:
    """What a layer's frames tell of the clusters of frames `gap` seconds later.

    The clusters are those of the layer itself, or of `target_layer`, or of a layer of the store `targets`,
    whose frames may have another rate: the nearest in time counts. Without `parts`, utterances are split by a
    hash of their ids; `split(ids, groups=speakers)` measures on other speakers than those fitted to. Without
    `control` there is no shuffled bound, which takes half of the time. SamplingError: the frames have seen
    what comes later, or too few pairs are there.
    """
    config = config or InformationConfig()
    (score,) = curve(
        store,
        layer,
        config,
        codes=(config.codes,),
        gaps=(config.gap,),
        targets=targets,
        target_layer=target_layer,
        parts=parts,
        control=control,
    )
    return score


def curve(
    store: FeatureStore,
    layer: str,
    config: InformationConfig | None = None,
    *,
    codes: Sequence[int] = CODES,
    gaps: Sequence[float] = GAPS,
    targets: FeatureStore | None = None,
    target_layer: str | None = None,
    parts: Parts | None = None,
    control: bool = True,
) -> list[Score]:
    """The label-free score over gaps in seconds and numbers of clusters, gap by gap; of gaps that come to the
    same number of frames the first counts."""
    config = config or InformationConfig()
    target_layer, scores = target_layer or layer, dict[float, list[Score]]()
    for wanted in gaps:
        pairs, gap = sampled(
            store,
            layer,
            targets=targets or store,
            target_layer=target_layer,
            gap=wanted,
            frames=config.frames,
            seed=config.seed,
            parts=parts,
        )
        for count in codes if gap not in scores else ():
            started = time.perf_counter()
            sections = clustered(pairs, msgspec.structs.replace(config, codes=count))
            step = (targets or store).frame_seconds
            score = _score(
                sections, config, step, layer=layer, targets=target_layer, gap=gap, control=control
            )
            score = replace(score, seconds=time.perf_counter() - started)
            scores.setdefault(gap, []).append(score)
    return [score for each in scores.values() for score in each]


def labelled(
    store: FeatureStore,
    layer: str,
    clips: Iterable[Clip],
    config: ProbeConfig | None = None,
    *,
    parts: Parts | None = None,
) -> Score:
    """What a layer's frames tell of the units spoken at their centres; silence is a unit.

    Labels that training does not have share one class, which keeps the bound valid.
    """
    started = time.perf_counter()
    config = config or ProbeConfig()
    frames = labelled_frames(store, layer, clips, parts=parts, limit=config.frames, seed=config.seed)
    step = store.frame_seconds
    score = _score(frames.sections, config, step, layer=layer, targets="units", gap=0.0, control=True)
    return replace(score, unseen=frames.unseen, seconds=time.perf_counter() - started)


def bound(sections: Sections, config: ProbeConfig) -> Bound:
    """H(labels) - E[-log q(labels | frames)] on the test section, q fitted on the others.

    The interval is that of bootstrap samples of the test utterances, moved so that their mean is the
    estimate: a sample repeats utterances, which makes its own entropy too small.
    """
    train, test = sections.train, sections.test
    classes = sections.classes
    places = None if sections.places is None else sections.places[:classes]
    probe = fit(train, sections.validation, classes=classes, config=config, places=places)
    nats = -probe.log_probabilities(test.frames).gather(1, test.labels[:, None])[:, 0].double()
    _, owners = test.utterances.unique(return_inverse=True)
    utterances = int(owners.max()) + 1
    counts = torch.bincount(owners * classes + test.labels, minlength=utterances * classes)
    counts = counts.view(utterances, classes).double()
    costs = torch.zeros(utterances, dtype=torch.float64).index_add_(0, owners, nats)
    draws = resamples(utterances, seed=config.seed)
    replicates = entropy(draws @ counts) - draws @ costs / (draws @ counts.sum(1))
    whole = counts.sum(0)
    estimate = float(entropy(whole) - nats.mean())
    low, high = interval(replicates - replicates.mean() + estimate)
    return Bound(
        nats=estimate,
        low=low,
        high=high,
        entropy=float(entropy(whole)),
        plugin_entropy=float(entropy(whole, correct=False)),
        cross_entropy=float(nats.mean()),
        labels=int((torch.bincount(train.labels) > 0).sum()),
        learning_rate=probe.learning_rate,
    )


def entropy(counts: Float[Tensor, "*draws labels"], *, correct: bool = True) -> Float[Tensor, "*draws"]:
    """The entropy in nats of labels counted so often, with Miller and Madow's correction or plugged in."""
    total = counts.sum(-1)
    plugin = total.log() - torch.special.xlogy(counts, counts).sum(-1) / total
    correction = ((counts > 0).sum(-1) - 1) / (2 * total)
    return torch.add(plugin, correction) if correct else plugin


def clustered(pairs: Sequence[Later], config: InformationConfig) -> Sections:
    """The sections with clusters for targets; only the first, the training section, shapes the clusters."""
    targets = pairs[0].targets
    standardize = standardizer(targets)
    generator = torch.Generator().manual_seed(config.seed)
    fitted = torch.randperm(len(targets), generator=generator)[: max(CLUSTERED, 50 * config.codes)]
    clusters = kmeans(standardize(targets[fitted]), config.codes, generator=generator)
    train, validation, test = (
        Examples(part.frames, clusters.assign(standardize(part.targets)), part.utterances) for part in pairs
    )
    return Sections(train, validation, test, _places(clusters.centroids))


def _places(centroids: Float[Tensor, "codes dim"]) -> Float[Tensor, "codes rank"]:
    """The centroids in their first principal directions, of unit deviation on the whole."""
    centred = centroids - centroids.mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    places = torch.matmul(centred, directions[:RANK].T)
    return torch.div(places, places.square().mean().sqrt().clamp(min=1e-10))


def _score(
    sections: Sections,
    config: ProbeConfig,
    step: float,
    *,
    layer: str,
    targets: str,
    gap: float,
    control: bool,
) -> Score:
    generator = torch.Generator().manual_seed(config.seed)
    return Score(
        layer=layer,
        targets=targets,
        gap=gap,
        frame_seconds=step,
        bound=bound(sections, config),
        shuffled=bound(sections.shuffled(generator), config) if control else None,
        train_frames=len(sections.train.labels),
        test_frames=len(sections.test.labels),
        test_utterances=len(sections.test.utterances.unique()),
        unseen=0,
        seed=config.seed,
        seconds=0.0,
    )
