"""A rate of a whole test set, such as an accuracy or an error rate: a ratio of sums, with its interval.

What is drawn for the bootstrap is whole speakers if there are ten or more, since clips of one voice are
alike, else clips: then the interval tells how sure the rate is for these voices, not for others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sonorant.data.manifest import Clip
from sonorant.evaluate.sampling import SamplingError, interval, resamples

SPEAKERS = 10  # from so many on an interval is over speakers
Over = Literal["speakers", "clips"]


@dataclass(frozen=True)
class Measured:
    """A figure of a test set, its 95 % interval, and what that is over."""

    metric: str
    value: float
    low: float
    high: float
    n: int
    over: Over


def groups(clips: Sequence[Clip]) -> tuple[Int[Tensor, " clips"], Over]:
    """The number of each clip's group, and what groups are."""
    speakers = [clip.speaker for clip in clips]
    names = sorted({speaker for speaker in speakers if speaker})
    if len(names) < SPEAKERS or not all(speakers):
        return torch.arange(len(clips)), "clips"
    numbers = {name: number for number, name in enumerate(names)}
    return torch.tensor([numbers[speaker or ""] for speaker in speakers]), "speakers"


def rate(
    metric: str,
    counted: Float[Tensor, " clips"],
    totals: Float[Tensor, " clips"],
    clips: Sequence[Clip],
    *,
    seed: int = 0,
) -> Measured:
    """The sum of what was counted in each clip over the sum of what there was to count.

    SamplingError: there was nothing.
    """
    if not totals.sum() > 0:
        raise SamplingError(f"{metric}: {len(clips)} clips with nothing to count (check their labels)")
    group, over = groups(clips)
    value = float(counted.double().sum() / totals.double().sum())
    sums = torch.zeros(2, int(group.max()) + 1, dtype=torch.float64)
    sums.index_add_(1, group, torch.stack([counted.double(), totals.double()]))
    n = sums.shape[1]
    if n < 2:
        return Measured(metric, value, value, value, n, over)
    draws = resamples(n, seed=seed)
    above, below = draws @ sums[0], draws @ sums[1]
    low, high = interval(above[below > 0] / below[below > 0])
    return Measured(metric, value, low, high, n, over)
