"""k-means of more points than memory holds, batch by batch.

D. Sculley, "Web-Scale K-Means Clustering", WWW 2010, https://doi.org/10.1145/1772690.1772862: a centroid
moves to each point that it is nearest to by one over the number of points it has had: it is their mean.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from sonorant.nn.kmeans import Clusters, kmeans

SAMPLE = 100  # points for each code, which Lloyd's algorithm starts from


def minibatch_kmeans(
    stream: Callable[[], Iterable[Float[Tensor, "_ dim"]]], codes: int, *, generator: torch.Generator
) -> Clusters:
    """Clusters of the points of a stream, which is begun twice and never held.

    The first pass draws a sample, every point with the same chance; `kmeans` finds the first centroids in it.
    The second pass moves them batch by batch. There Sculley starts from single random points; here a centroid
    counts as the mean of as many points as it had in the sample, or the first batch would undo the start. The
    inertia is that of the second pass, each point's distance taken before its batch moved the centroids.
    ValueError: as `kmeans` has it.
    """
    sample = _reservoir(stream(), SAMPLE * codes, generator)
    start = kmeans(sample, codes, generator=generator)
    centroids = start.centroids.double()
    counts = torch.bincount(start.assign(sample), minlength=len(centroids)).double()
    distance, points = 0.0, 0
    for batch in stream():
        clusters = Clusters(centroids.to(batch), start.inertia)
        labels = clusters.assign(batch)
        distance += float((batch - clusters.centroids[labels]).square().sum())
        points += len(batch)
        new = torch.bincount(labels, minlength=len(centroids)).double()
        sums = torch.zeros_like(centroids).index_add_(0, labels, batch.double())
        counts += new
        centroids += (sums - new[:, None] * centroids) / counts.clamp_min(1)[:, None]
    inertia = distance / points if points else start.inertia
    return Clusters(centroids.to(sample), inertia)


def _reservoir(
    stream: Iterable[Float[Tensor, "_ dim"]], size: int, generator: torch.Generator
) -> Float[Tensor, "n dim"]:
    """At most so many points, each of the stream's with the same chance: those with the smallest draws.

    ValueError: the stream has no point.
    """
    kept: Tensor | None = None
    draws = torch.empty(0, dtype=torch.float64)
    for batch in stream:
        kept = batch if kept is None else torch.cat([kept, batch])
        draws = torch.cat([draws, torch.rand(len(batch), generator=generator, dtype=torch.float64)])
        if len(draws) > size:
            draws, places = draws.topk(size, largest=False)
            kept = kept[places.to(kept.device)]
    if kept is None:
        raise ValueError("k-means of a stream without a point")
    return kept
