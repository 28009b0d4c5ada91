"""Verification: do two clips have the same speaker? The equal error rate of scored trials.

At a threshold some trials of two speakers are accepted (false alarms) and some of one are not (misses); the
equal error rate is where both rates are the same. Between two thresholds the rates are joined by straight
lines. Trials with equal scores are accepted together.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sonorant.data.manifest import Clip
from sonorant.evaluate.ratios import Measured, groups
from sonorant.evaluate.sampling import SamplingError, interval, resamples

CLIPS = 3000  # at most; more of them are drawn from
TRIALS = 50_000  # of either kind at most, likewise
REPLICATES = 200  # of the bootstrap


def equal_error_rate(
    scores: Float[Tensor, " trials"],
    same: Bool[Tensor, " trials"],
    weights: Float[Tensor, " trials"] | None = None,
) -> float:
    """Of trials, higher scores for the same speaker; weights count a trial several times. SamplingError: all
    of the trials are of one kind."""
    weights = torch.ones(len(scores), dtype=torch.float64) if weights is None else weights.double()
    order = scores.argsort(descending=True)
    ordered, kinds, counts = scores[order], same[order], weights[order]
    last = torch.cat([ordered[1:] != ordered[:-1], torch.ones(1, dtype=torch.bool)])  # of equal scores
    accepted = torch.stack([counts * kinds, counts * ~kinds]).cumsum(1)[:, last]
    totals = torch.stack([(counts * kinds).sum(), (counts * ~kinds).sum()])
    if not (totals > 0).all():
        raise SamplingError("trials of one kind only: verification needs both (give several clips a speaker)")
    hits, alarms = torch.cat([torch.zeros(2, 1, dtype=torch.float64), accepted], 1) / totals[:, None]
    misses = 1 - hits
    after = int((alarms >= misses).nonzero()[0])  # the first threshold with more false alarms than misses
    before = max(after - 1, 0)
    rise, fall = alarms[after] - alarms[before], misses[before] - misses[after]
    gap = misses[before] - alarms[before]
    share = gap / (rise + fall) if rise + fall > 0 else torch.zeros(())
    return float(alarms[before] + share * rise)


def trials(
    clips: Sequence[Clip], *, seed: int = 0
) -> tuple[Int[Tensor, "trials 2"], Bool[Tensor, " trials"]]:
    """Every pair of clips and whether they have one speaker; at most `TRIALS` of either kind and of `CLIPS`
    clips, drawn by the seed."""
    names = {name: number for number, name in enumerate(sorted({clip.speaker or "" for clip in clips}))}
    speakers = torch.tensor([names[clip.speaker or ""] for clip in clips])
    generator = torch.Generator().manual_seed(seed)
    used = torch.randperm(len(clips), generator=generator)[:CLIPS].sort().values
    pairs = used[torch.triu_indices(len(used), len(used), 1).T]
    same = speakers[pairs[:, 0]] == speakers[pairs[:, 1]]
    kept = []
    for kind in (True, False):
        places = (same == kind).nonzero()[:, 0]
        kept.append(places[torch.randperm(len(places), generator=generator)[:TRIALS]])
    chosen = torch.cat(kept).sort().values
    return pairs[chosen], same[chosen]


def verification(clips: Sequence[Clip], embeddings: Float[Tensor, "clips dim"], *, seed: int = 0) -> Measured:
    """The equal error rate of the cosines of all pairs, with an interval over speakers or clips."""
    pairs, same = trials(clips, seed=seed)
    unit = torch.nn.functional.normalize(embeddings.double(), dim=1)
    scores = (unit[pairs[:, 0]] * unit[pairs[:, 1]]).sum(1)
    value = equal_error_rate(scores, same)
    group, over = groups(clips)
    count = int(group.max()) + 1
    if count < 2:
        return Measured("eer", value, value, value, count, over)
    owners = group[pairs]
    values = []
    for drawn in resamples(count, seed=seed, replicates=REPLICATES):
        first, second = drawn[owners[:, 0]], drawn[owners[:, 1]]
        # the pairs within a speaker who was drawn twice come twice, not four times
        weights = torch.where(owners[:, 0] == owners[:, 1], first, first * second)
        if (weights * same).sum() > 0 and (weights * ~same).sum() > 0:
            values.append(equal_error_rate(scores, same, weights))
    low, high = interval(torch.tensor(values)) if values else (value, value)
    return Measured("eer", value, low, high, count, over)
