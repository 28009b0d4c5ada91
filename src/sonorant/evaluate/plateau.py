"""What the label-free bound would reach with ever more clusters, and whether the curve lets that be told.

One cluster tells nothing and ever finer ones take away ever less, so the curve over K clusters is fitted by

    I(K) = P (1 - K^-a)

with a plateau P and a rate a: for small K it grows like a P log K. The form is an assumption. For a source of
d dimensions cut into cells of equal size the loss does fall like a power of K, K^(-2/d); a source of few
discrete states reaches its plateau sooner than the curve. So the plateau is an extrapolation of the bound and
no bound itself. Its interval comes from draws within the points' own intervals, as if these erred one by
one; they err together, being of the same utterances, which makes it too wide rather than too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sonorant.evaluate.sampling import interval

RATES = torch.logspace(-2, 1, 400, dtype=torch.float64)  # of a; the smallest is growth like log K
REACHED = 0.75  # share of the plateau that the highest point has to have reached
WIDTH = 0.5  # of the plateau that its interval may be wide
DRAWS = 500


@dataclass(frozen=True)
class Point:
    """The bound with so many clusters, in nats, and its 95 % interval."""

    clusters: int
    nats: float
    low: float
    high: float


@dataclass(frozen=True)
class Plateau:
    """Where the curve leads to; `doubt` says why that cannot be told, if so."""

    nats: float
    low: float
    high: float
    rate: float
    doubt: str | None


def plateau(points: Sequence[Point], *, seed: int = 0) -> Plateau | None:
    """Of points with different numbers of clusters; None for fewer than three with more than one cluster."""
    points = sorted((each for each in points if each.clusters > 1), key=lambda each: each.clusters)
    if len({each.clusters for each in points}) < 3:
        return None
    codes, nats, low, high = (
        torch.tensor([getattr(each, name) for each in points], dtype=torch.float64)
        for name in ("clusters", "nats", "low", "high")
    )
    deviations = ((high - low) / 3.92).clamp_min(1e-9)
    generator = torch.Generator().manual_seed(seed)
    errors = torch.randn(DRAWS, len(points), generator=generator, dtype=torch.float64) * deviations
    heights, rates = _fitted(codes, torch.cat([nats[None], nats + errors]), deviations)
    value, (lowest, highest) = float(heights[0]), interval(heights[1:])
    return Plateau(value, lowest, highest, float(rates[0]), _doubt(points, value, lowest, highest))


def _fitted(
    codes: Float[Tensor, " n"], curves: Float[Tensor, "draws n"], deviations: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " draws"], Float[Tensor, " draws"]]:
    """The plateau and the rate of each curve by weighted least squares, over a grid of rates."""
    shapes = 1 - codes ** -RATES[:, None]
    weights = deviations**-2
    heights = (curves * weights) @ shapes.T / (shapes.square() @ weights)
    left = ((curves[:, None] - heights[:, :, None] * shapes).square() * weights).sum(2)
    best = left.argmin(1)
    return heights.gather(1, best[:, None])[:, 0], RATES[best]


def _doubt(points: Sequence[Point], value: float, low: float, high: float) -> str | None:
    last, best = points[-1], max(points, key=lambda each: each.nats)
    if best.high <= 0 or value <= 0:
        return "nothing is told at any K"
    if last.high < best.low:
        return f"it falls beyond K={best.clusters}: too few frames for more clusters (give more speech)"
    if best.nats < REACHED * value or high - low > WIDTH * value:
        return f"still rising at K={last.clusters} (give larger numbers of clusters, and more speech)"
    return None
