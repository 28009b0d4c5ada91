"""k-means in matrix products: Lloyd's algorithm from a k-means++ start (Arthur and Vassilvitskii, 2007)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 16_384  # points whose distances are in memory at once
SEEDING = 10  # points for each code, of which the first centroids are chosen: more change the time alone
ROUNDING = 1e-5  # of the squared norms: what a product in single precision leaves of a distance of zero


@dataclass(frozen=True)
class Clusters:
    """Centroids, and the mean squared distance of the points they were fitted to."""

    centroids: Float[Tensor, "codes dim"]
    inertia: float

    def assign(self, points: Float[Tensor, "n dim"]) -> Int[Tensor, " n"]:
        """The nearest centroid of each point."""
        return _nearest(points, self.centroids)[0]


def kmeans(
    points: Float[Tensor, "n dim"],
    codes: int,
    *,
    generator: torch.Generator,
    iterations: int = 50,
    tolerance: float = 1e-4,
) -> Clusters:
    """At most `codes` clusters of the points, the same for the same generator state.

    Stops when an iteration lowers the inertia by less than `tolerance` of it. A cluster that loses its last
    point starts again at the point farthest from its own centroid. There are fewer clusters than codes only
    if the points that the first centroids are chosen from are fewer different ones.
    ValueError: there are fewer points than codes, or a point is not finite.
    """
    if not 0 < codes <= len(points):
        raise ValueError(f"{codes} clusters of {len(points)} points: give 1 to {len(points)} clusters")
    if not torch.isfinite(points).all():
        raise ValueError("k-means on points that are not finite: look for NaN or infinity in the features")
    centre = points.mean(0)  # distances as products lose all digits when the points lie far from zero
    points = points - centre
    centroids = _plus_plus(points, codes, generator)
    labels, distances = _nearest(points, centroids)
    for _ in range(iterations):
        before = float(distances.mean())
        centroids = _means(points, labels, distances, len(centroids))
        labels, distances = _nearest(points, centroids)
        if before - float(distances.mean()) <= tolerance * before:
            break
    return Clusters(centroids + centre, float(distances.mean()))


def _nearest(
    points: Float[Tensor, "n dim"], centroids: Float[Tensor, "codes dim"]
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """Each point's nearest centroid and the squared distance to it."""
    labels, distances = [], []
    half_norms = centroids.square().sum(1) / 2
    for block in points.split(BLOCK):
        score, label = torch.addmm(half_norms, block, centroids.T, alpha=-1).min(1)
        labels.append(label)
        distances.append((block.square().sum(1) + 2 * score).clamp_min(0))
    return torch.cat(labels), torch.cat(distances)


def _means(
    points: Float[Tensor, "n dim"], labels: Int[Tensor, " n"], distances: Float[Tensor, " n"], codes: int
) -> Float[Tensor, "codes dim"]:
    """The mean of each cluster's points; empty clusters get the points farthest from their centroids."""
    counts = torch.bincount(labels, minlength=codes)
    sums = torch.zeros(codes, points.shape[1], dtype=points.dtype, device=points.device)
    means = sums.index_add_(0, labels, points) / counts.clamp_min(1)[:, None]
    empty = (counts == 0).nonzero()[:, 0]
    means[empty] = points[distances.topk(len(empty)).indices]
    return means


def _plus_plus(
    points: Float[Tensor, "n dim"], codes: int, generator: torch.Generator
) -> Float[Tensor, "some dim"]:
    """First centroids: points drawn in proportion to their squared distance from those already drawn.

    There are as many as `codes`, or as there are different points in the sample.
    """
    order = torch.randperm(len(points), generator=generator)[: SEEDING * codes].to(points.device)
    sample = points[order]
    norms = sample.square().sum(1)
    nearest = torch.full_like(norms, torch.inf)
    chosen = [0]
    while len(chosen) < codes:
        last = chosen[-1]
        scale = norms + norms[last]
        distance = scale - 2 * sample @ sample[last]
        distance[distance < ROUNDING * scale] = 0  # else copies of a chosen point are drawn as well
        nearest = torch.minimum(nearest, distance)
        weight = nearest.double().cumsum(0)
        if weight[-1] <= 0:
            break
        draw = torch.rand((), generator=generator, dtype=torch.float64).to(points.device) * weight[-1]
        chosen.append(int(torch.searchsorted(weight, draw).clamp_max(len(sample) - 1)))
    return sample[chosen]
