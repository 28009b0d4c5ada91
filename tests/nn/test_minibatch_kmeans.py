"""Guards k-means of a stream: near what Lloyd's algorithm finds in all points, centroids as running means."""

import pytest
import torch

from sonorant.nn import minibatch_kmeans as module
from sonorant.nn.kmeans import kmeans
from sonorant.nn.minibatch_kmeans import _reservoir, minibatch_kmeans


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def inertia(points, centroids):
    return float(torch.cdist(points, centroids).square().min(1).values.mean())


def test_a_stream_is_clustered_about_as_well_as_all_points_at_once(monkeypatch):
    monkeypatch.setattr(module, "SAMPLE", 20)
    points = torch.randn(6000, 4, generator=generator(1)) * torch.tensor([3.0, 1.0, 1.0, 0.1]) + 50
    found = minibatch_kmeans(lambda: points.split(500), 12, generator=generator())
    whole = kmeans(points, 12, generator=generator())
    sampled = kmeans(_reservoir(points.split(500), 240, generator()), 12, generator=generator())
    assert inertia(points, found.centroids) < 1.1 * whole.inertia
    assert inertia(points, found.centroids) < inertia(points, sampled.centroids)
    assert found.inertia == pytest.approx(inertia(points, found.centroids), rel=0.05)


def test_centroids_are_the_means_of_the_points_they_have_had(monkeypatch):
    """Against Sculley's algorithm written as loops: one step of 1 / count a point."""
    monkeypatch.setattr(module, "SAMPLE", 10)
    points = torch.randn(300, 2, generator=generator(2), dtype=torch.float64)
    found = minibatch_kmeans(lambda: points.split(70), 4, generator=generator())
    draws = generator()
    sample = _reservoir(points.split(70), 40, draws)
    start = kmeans(sample, 4, generator=draws)
    centroids = start.centroids.tolist()
    counts = torch.bincount(start.assign(sample), minlength=4).tolist()
    for part in points.split(70):
        nearest = torch.cdist(part, torch.tensor(centroids, dtype=torch.float64)).argmin(1).tolist()
        for point, label in zip(part.tolist(), nearest, strict=True):
            counts[label] += 1
            rate = 1 / counts[label]
            centroids[label] = [
                (1 - rate) * c + rate * x for c, x in zip(centroids[label], point, strict=True)
            ]
    torch.testing.assert_close(found.centroids, torch.tensor(centroids, dtype=torch.float64))


def test_every_point_has_the_same_chance_to_be_in_the_sample():
    stream = torch.arange(100.0)[:, None].split([60, 30, 10])
    draws = generator(3)
    counts = sum(
        torch.bincount(_reservoir(stream, 20, draws)[:, 0].long(), minlength=100) for _ in range(1000)
    )
    assert counts.sum() == 20_000
    # binomial: mean 200, standard deviation 12.6
    assert counts.min() > 200 - 5 * 12.6
    assert counts.max() < 200 + 5 * 12.6
    assert counts[-10:].float().mean() == pytest.approx(200, abs=5 * 12.6 / 10**0.5)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="without a point"):
        minibatch_kmeans(list, 3, generator=generator())
    with pytest.raises(ValueError, match="5 clusters of 3 points"):
        minibatch_kmeans(lambda: [torch.randn(3, 2)], 5, generator=generator())
