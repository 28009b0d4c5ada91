"""Guards the streamed measures of similarity: slow ones written from the papers, all frames in memory.

CCA by QR and SVD of the centred frames, HSIC as the mean over quadruples of different frames, CKA with kernel
matrices, and neighbours by sorting, frame by frame.
"""

import itertools
import math

import numpy as np
import pytest
import torch

from sonorant.evaluate.alike import CANONICAL, MEASURES, in_memory
from sonorant.evaluate.cca import KEPT
from sonorant.evaluate.cka import BANDWIDTH, kernel_hsic, linear_hsic
from sonorant.evaluate.moments import moments
from sonorant.evaluate.neighbours import NEIGHBOURS


def frames(n, dims, seed=0, shared=3):
    """Two layers of correlated dimensions with some latent variables in common, far from zero."""
    random = np.random.default_rng(seed)
    latent = random.normal(size=(n, shared))
    layers = []
    for dim in dims:
        own = random.normal(size=(n, dim)) @ random.normal(size=(dim, dim))
        layers.append(latent @ random.normal(size=(shared, dim)) + own + 5 * random.normal(size=dim))
    return layers


def slow_cca(x, y):
    """Mean CCA, SVCCA and PWCCA; X weighs."""
    x, y = x - x.mean(0), y - y.mean(0)
    basis, _ = np.linalg.qr(x)
    left, correlations, _ = np.linalg.svd(basis.T @ np.linalg.qr(y)[0], full_matrices=False)
    variables = basis @ left
    weights = [
        sum(abs(variables[:, i] @ x[:, j]) for j in range(x.shape[1])) for i in range(len(correlations))
    ]
    return correlations.mean(), slow_svcca(x, y), np.average(correlations, weights=weights)


def slow_svcca(x, y):
    reduced = []
    for side in (x, y):
        basis, sizes, _ = np.linalg.svd(side, full_matrices=False)
        count = next(k for k in range(1, len(sizes) + 1) if (sizes[:k] ** 2).sum() >= KEPT * (sizes**2).sum())
        reduced.append(basis[:, :count])
    return np.linalg.svd(reduced[0].T @ reduced[1], compute_uv=False).mean()


def slow_hsic(one, two):
    """Song et al. 2012: the mean over quadruples of k_ij (l_ij + l_qr - 2 l_iq)."""
    total = sum(
        one[i, j] * (two[i, j] + two[q, r] - 2 * two[i, q])
        for i, j, q, r in itertools.permutations(range(len(one)), 4)
    )
    return total / math.perm(len(one), 4)


def matrix_hsic(one, two):
    """The same in closed form, with loops where the library has products."""
    n = len(one)
    one, two = (each - np.diag(np.diag(each)) for each in (one, two))
    chain = sum(one[:, i].sum() * two[i].sum() for i in range(n))
    inner = np.trace(one @ two) + one.sum() * two.sum() / (n - 1) / (n - 2) - 2 * chain / (n - 2)
    return inner / n / (n - 3)


def slow_cka(one, two):
    return matrix_hsic(one, two) / math.sqrt(matrix_hsic(one, one) * matrix_hsic(two, two))


def slow_rbf(x):
    distances = np.array([[np.linalg.norm(one - other) for other in x] for one in x])
    between = sorted(distances[i, j] for i in range(len(x)) for j in range(i))
    median = between[(len(between) - 1) // 2]
    return np.exp(-(distances**2) / (2 * (BANDWIDTH * median) ** 2))


def slow_knn(x, y, owners):
    hits = 0
    for i in range(len(x)):
        near = []
        for side in (x - x.mean(0), y - y.mean(0)):
            cosines = side @ side[i] / np.linalg.norm(side, axis=1)
            others = [j for j in range(len(x)) if owners[j] != owners[i]]
            near.append(set(sorted(others, key=lambda j: -cosines[j])[:NEIGHBOURS]))
        hits += len(near[0] & near[1])
    return hits / len(x) / NEIGHBOURS


@pytest.mark.parametrize("dims", [(6, 6), (9, 4), (4, 9)])
def test_every_measure_is_that_of_the_papers(dims):
    x, y = frames(150, dims)
    owners = np.arange(150) // 7
    kernels = [side @ side.T for side in (x, y)]
    expected = dict(zip(CANONICAL, slow_cca(x, y), strict=True))
    expected |= {
        "linear_cka": slow_cka(*kernels),
        "rbf_cka": slow_cka(slow_rbf(x), slow_rbf(y)),
        "mutual_knn": slow_knn(x, y, owners),
    }
    found = in_memory(*map(torch.from_numpy, (x, y, owners)), MEASURES)
    assert found == pytest.approx(expected, rel=1e-6)
    assert all(0.01 < value < 0.99 for value in found.values())


def test_hsic_is_the_mean_over_quadruples():
    x, y = frames(8, (3, 2), seed=1)
    kernels = [side @ side.T for side in (x, y)]
    expected = slow_hsic(*kernels)
    assert linear_hsic(moments(*map(torch.from_numpy, (x, y)))) == pytest.approx(expected, rel=1e-9)
    empty = [torch.from_numpy(kernel - np.diag(np.diag(kernel))) for kernel in kernels]
    assert kernel_hsic(*empty) == pytest.approx(expected, rel=1e-9)
