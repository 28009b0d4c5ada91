"""Centred kernel alignment: how alike two layers find the same pairs of frames.

Kornblith, Norouzi, Lee and Hinton, "Similarity of neural network representations revisited", 2019,
https://arxiv.org/abs/1905.00414. With kernel matrices K and L of the same n frames in two layers,

    CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))

linear (K = X X^T) or with K_ij = exp(-|x_i - x_j|^2 / 2 sigma^2), sigma a fraction of the median distance.
HSIC is the unbiased estimate of Song et al. 2012 (https://www.jmlr.org/papers/v13/song12a.html) that Nguyen,
Raghu and Kornblith 2020 (https://arxiv.org/abs/2010.15327) use: with diagonals set to zero,

    HSIC = (tr KL + 1^T K 1 1^T L 1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1^T K L 1) / (n (n - 3))

The usual biased one is far above zero for unrelated layers unless frames are many times the dimensions. The
unbiased one may be a little below zero there.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sonorant.evaluate.moments import Moments

BANDWIDTH = 0.8  # of the median distance, one of those in the paper


def cka(cross: float, first: float, second: float) -> float:
    """From the HSIC of two layers and of each with itself. ValueError: a layer does not vary."""
    if not (first > 0 and second > 0):
        raise ValueError("all frames are the same, or too few: nothing to align")
    return cross / math.sqrt(first * second)


def linear_hsic(sums: Moments) -> float:
    """Unbiased, with linear kernels, in one pass over frames: no kernel matrix is made."""
    n = sums.count
    trace = sums.cross.square().sum() - sums.norms
    first, second = sums.x.square().sum() - sums.x_norm, sums.y.square().sum() - sums.y_norm
    chain = sums.x @ sums.cross @ sums.y - sums.x @ sums.x_by_y - sums.y @ sums.y_by_x + sums.norms
    return _unbiased(n, trace, first * second, chain)


def kernel_hsic(first: Float[Tensor, "n n"], second: Float[Tensor, "n n"]) -> float:
    """Unbiased, of kernel matrices with zero diagonals; summed in double precision."""
    first, second = first.double(), second.double()
    rows, columns = first.sum(0), second.sum(0)
    n = torch.tensor(float(len(first)), dtype=first.dtype)
    return _unbiased(n, (first * second).sum(), rows.sum() * columns.sum(), rows @ columns)


def rbf_kernel(frames: Float[Tensor, "n dim"]) -> Float[Tensor, "n n"]:
    """A Gaussian kernel as wide as `BANDWIDTH` of the median distance between two frames; diagonal zero."""
    frames = frames.double() - frames.double().mean(0)
    squares = torch.cdist(frames, frames, compute_mode="use_mm_for_euclid_dist").square()
    upper = squares[torch.ones_like(squares, dtype=torch.bool).triu(1)]
    kernel = (-squares / (2 * BANDWIDTH**2 * upper.median())).exp()
    return kernel.fill_diagonal_(0).float()


def _unbiased(n: Tensor, trace: Tensor, sums: Tensor, chain: Tensor) -> float:
    return float((trace + sums / ((n - 1) * (n - 2)) - 2 / (n - 2) * chain) / (n * (n - 3)))
