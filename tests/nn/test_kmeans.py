"""Guards k-means: it finds what is there, no worse than a slow reference, the same for the same generator."""

import pytest
import torch

from sonorant.nn.kmeans import kmeans


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def slow_lloyd(points, centroids, iterations):
    """Lloyd's algorithm with loops; returns the mean squared distance."""
    centroids = [list(row) for row in centroids.tolist()]
    rows = points.tolist()
    for _ in range(iterations + 1):
        groups = [[] for _ in centroids]
        inertia = 0.0
        for row in rows:
            distances = [sum((a - b) ** 2 for a, b in zip(row, c, strict=True)) for c in centroids]
            nearest = distances.index(min(distances))
            groups[nearest].append(row)
            inertia += distances[nearest]
        for place, group in enumerate(groups):
            if group:
                centroids[place] = [sum(column) / len(group) for column in zip(*group, strict=True)]
    return inertia / len(rows)


def test_well_separated_groups_are_found():
    truth = torch.arange(12).repeat_interleave(30)
    centres = torch.randn(12, 6, generator=generator(1)) * 20
    points = centres[truth] + torch.randn(len(truth), 6, generator=generator(2)) * 0.1
    clusters = kmeans(points, 12, generator=generator())
    labels = clusters.assign(points)
    assert len(set(zip(truth.tolist(), labels.tolist(), strict=True))) == 12
    assert clusters.inertia == pytest.approx(6 * 0.01, rel=0.1)


def test_no_worse_than_the_slow_reference_on_points_without_structure():
    points = torch.randn(300, 3, generator=generator(3))
    slow = min(
        slow_lloyd(points, points[torch.randperm(300, generator=generator(seed))[:8]], 40)
        for seed in range(5)
    )
    fast = min(kmeans(points, 8, generator=generator(seed), tolerance=0.0).inertia for seed in range(5))
    assert fast <= slow * 1.03


def test_inertia_is_the_mean_squared_distance_to_the_assigned_centroid_far_from_zero_too():
    points = torch.randn(500, 4, generator=generator(4)) + 1000
    clusters = kmeans(points, 10, generator=generator())
    labels = clusters.assign(points)
    distances = (points.double() - clusters.centroids.double()[labels]).square().sum(1)
    assert clusters.inertia == pytest.approx(distances.mean().item(), rel=0.05)
    assert clusters.inertia < 0.6 * points.double().var(0).sum().item()


def test_the_generator_decides_alone():
    points = torch.randn(2000, 8, generator=generator(5))
    first, again, other = (kmeans(points, 20, generator=generator(seed)).centroids for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_as_many_clusters_as_different_points():
    points = torch.randn(5, 3, generator=generator(6)).repeat(40, 1)
    clusters = kmeans(points, 20, generator=generator())
    labels = clusters.assign(points)
    assert len(labels.unique()) == 5
    assert clusters.inertia == pytest.approx(0, abs=1e-5)
    assert len(kmeans(torch.full((30, 4), 3.3), 8, generator=generator()).centroids) == 1


def test_an_empty_cluster_starts_again_where_points_are_far_away(monkeypatch):
    corners = torch.tensor([[10.0, 10.0], [10.0, -10.0], [-10.0, 10.0], [-10.0, -10.0]])
    points = corners.repeat(40, 1) + torch.randn(160, 2, generator=generator(9)) * 0.01
    far = torch.tensor([[10.0, 10.0], [10.0, -10.0], [-10.0, 0.0], [500.0, 500.0]])
    monkeypatch.setattr("sonorant.nn.kmeans._plus_plus", lambda points, codes, generator: far)
    assert kmeans(points, 4, generator=generator()).inertia < 0.01


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="11 clusters of 10 points"):
        kmeans(torch.randn(10, 2), 11, generator=generator())
    with pytest.raises(ValueError, match="not finite"):
        kmeans(torch.full((10, 2), torch.nan), 3, generator=generator())
