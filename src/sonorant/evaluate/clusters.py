"""How well clusters of frames match phones: PNMI and purities, as HuBERT has them.

W.-N. Hsu et al., "HuBERT", 2021, https://arxiv.org/abs/2106.07447, section IV-C. With p the joint
frequencies of phone y and cluster z over test frames,

    phone purity   = sum over z of max over y of p(y, z)
    cluster purity = sum over y of max over z of p(y, z)
    PNMI           = I(y; z) / H(y)

Phone purity is the accuracy of naming each cluster's commonest phone; both it and PNMI rise with the number
of clusters, up to 1 with a cluster for each frame, which cluster purity punishes. So compare the same number
of clusters, of the same frames. k-means is fitted to training utterances and these figures come from others,
but a frequency table of few frames still tells too much: the shuffled control says how much. HuBERT's PNMI
plugs frequencies into the entropies; `corrected` is the same with Miller and Madow's correction of all three
of them, (cells in use - 1) / 2N, which takes most of that excess away. For the same
reason intervals are the jackknife's: a bootstrap sample, with its repetitions, tells more still, and its
interval would lie above the value.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sonorant.data.manifest import Clip
from sonorant.evaluate.information import entropy
from sonorant.evaluate.labels import labelled_frames
from sonorant.evaluate.sampling import Figure, Parts
from sonorant.evaluate.store import FeatureStore
from sonorant.nn.kmeans import kmeans

FRAMES = 100_000  # of training and of test utterances at most
GROUPS = 50  # of test utterances at most, left out in turn


@dataclass(frozen=True)
class Match:
    """How clusters of a layer's frames go together with phones."""

    clusters: int
    pnmi: Figure
    corrected: Figure  # PNMI with corrected entropies
    phone_purity: Figure
    cluster_purity: Figure
    shuffled: float  # PNMI with the phone of a frame of another utterance
    test_frames: int
    test_utterances: int
    seconds: float  # of wall time


def match(
    store: FeatureStore,
    layer: str,
    clips: Iterable[Clip],
    clusters: int,
    *,
    parts: Parts | None = None,
    seed: int = 0,
) -> Match:
    """k-means of a layer's training frames against the units of test frames.

    Without `parts`, the utterances that have units are split by a hash of their ids. ValueError: no utterance
    has units, or there are fewer training frames than clusters.
    """
    started = time.perf_counter()
    frames = labelled_frames(store, layer, clips, parts=parts, limit=FRAMES, seed=seed).sections
    generator = torch.Generator().manual_seed(seed)
    found = kmeans(frames.train.frames, clusters, generator=generator)
    test = frames.test
    codes = found.assign(test.frames)
    _, owners = test.utterances.unique(return_inverse=True)
    other = test.shuffled(generator).labels
    pnmi, phones, purity, corrected = _with_intervals(test.labels, codes, owners)
    return Match(
        clusters=len(found.centroids),
        pnmi=pnmi,
        corrected=corrected,
        phone_purity=phones,
        cluster_purity=purity,
        shuffled=figures(joint(other, codes))[0],
        test_frames=len(codes),
        test_utterances=int(owners.max()) + 1,
        seconds=time.perf_counter() - started,
    )


def joint(phones: Int[Tensor, " n"], codes: Int[Tensor, " n"]) -> Float[Tensor, "phones codes"]:
    """The share of each pair among the frames."""
    width = int(codes.max()) + 1
    pairs = (phones * width + codes).bincount(minlength=(int(phones.max()) + 1) * width).double()
    return (pairs / len(phones)).view(-1, width)


def figures(shares: Float[Tensor, "phones codes"]) -> tuple[float, float, float]:
    """PNMI, phone purity and cluster purity of joint frequencies. With a single phone, which leaves nothing
    to tell, PNMI is 0."""
    phones, codes = _entropy(shares.sum(1)), _entropy(shares.sum(0))
    information = phones + codes - _entropy(shares)
    pnmi = information / phones if phones > 0 else 0.0
    return pnmi, float(shares.amax(0).sum()), float(shares.amax(1).sum())


def corrected_pnmi(shares: Float[Tensor, "phones codes"], frames: int) -> float:
    """PNMI of joint frequencies in so many frames, its entropies corrected for their number."""
    counts = shares * frames
    phones, codes, both = (entropy(each) for each in (counts.sum(1), counts.sum(0), counts.flatten()))
    return float((phones + codes - both) / phones) if phones > 0 else 0.0


def _all(phones: Int[Tensor, " n"], codes: Int[Tensor, " n"]) -> tuple[float, ...]:
    shares = joint(phones, codes)
    return *figures(shares), corrected_pnmi(shares, len(phones))


def _with_intervals(
    phones: Int[Tensor, " n"], codes: Int[Tensor, " n"], owners: Int[Tensor, " n"]
) -> list[Figure]:
    """The figures, each with 1.96 standard errors about it: of a jackknife over groups of utterances."""
    values = torch.tensor(_all(phones, codes), dtype=torch.float64)
    groups = min(GROUPS, int(owners.max()) + 1)
    rests = [owners % groups != group for group in range(groups)]
    without = torch.tensor([_all(phones[rest], codes[rest]) for rest in rests], dtype=torch.float64)
    error = ((groups - 1) * (without - without.mean(0)).square().mean(0)).sqrt()
    low, high = values - 1.96 * error, values + 1.96 * error
    return [Figure(*each) for each in zip(values.tolist(), low.tolist(), high.tolist(), strict=True)]


def _entropy(shares: Float[Tensor, "..."]) -> float:
    """In nats."""
    return float(torch.special.entr(shares).sum())
