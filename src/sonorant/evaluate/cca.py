"""Canonical correlations of two layers, from their covariances: their mean, SVCCA and PWCCA.

- Hotelling, "Relations between two sets of variates", 1936: the directions of X and of Y, each uncorrelated
  with the others of its side, that correlate most; rho_1 >= rho_2 >= ... are their correlations. Their mean
  is 1 for X against any invertible linear map of X.
- SVCCA: Raghu, Gilmer, Yosinski, Sohl-Dickstein, 2017, https://arxiv.org/abs/1706.05806. The same mean after
  each side has been reduced to its leading principal directions, those with 99 % of the variance.
- PWCCA: Morcos, Raghu, Bengio, 2018, https://arxiv.org/abs/1806.05759. sum_i alpha_i rho_i with

      alpha_i ~ sum_j |<h_i, x_j>|,  sum_i alpha_i = 1

  where h_i is the i-th canonical variable of X and x_j the j-th dimension of X. It is not symmetric: here the
  first layer is X and weighs, whichever is the larger.

Directions in which a layer hardly varies carry nothing but the rounding of stored features, which CCA would
blow up to full size: those with less than `SMALL` of the largest direction's variance are left out.
Correlations measured on n frames of p and q dimensions are too high by chance: for independent layers, their
squares have a mean of about max(p, q) / n.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

SMALL = 1e-6  # of the largest variance; float16 rounding leaves about 1e-7 of the mean one
KEPT = 0.99  # of the variance in SVCCA


@dataclass(frozen=True)
class Whitened:
    """A layer's directions of unit variance, uncorrelated, ordered by the variance that they stand for."""

    directions: Float[Tensor, "dim kept"]
    loadings: Float[Tensor, "dim kept"]  # covariances of the layer's dimensions with them
    main: int  # how many of them have `KEPT` of the variance

    @property
    def kept(self) -> int:
        return self.directions.shape[1]


@dataclass(frozen=True)
class Correlations:
    """Three summaries of canonical correlations, each from 0 to 1."""

    mean: float
    svcca: float
    pwcca: float  # weighed by the first layer


def whiten(covariance: Float[Tensor, "dim dim"]) -> Whitened:
    """From a covariance in double precision. ValueError: the layer does not vary."""
    variances, vectors = torch.linalg.eigh(covariance)
    variances, vectors = variances.flip(0), vectors.flip(1)
    if not variances[0] > 0:
        raise ValueError("all frames are the same: nothing to correlate")
    kept = int((variances > SMALL * variances[0]).sum())
    share = variances.clamp_min(0).cumsum(0) / variances.clamp_min(0).sum()
    main = min(kept, int((share < KEPT).sum()) + 1)
    scale = variances[:kept].sqrt()
    return Whitened(vectors[:, :kept] / scale, vectors[:, :kept] * scale, main)


def correlate(x: Whitened, y: Whitened, cross: Float[Tensor, "p q"]) -> Correlations:
    """The canonical correlations of two layers with this covariance of the one with the other."""
    whitened = x.directions.T @ cross @ y.directions
    left, correlations, _ = torch.linalg.svd(whitened, full_matrices=False)
    correlations = correlations.clamp_max(1)
    weights = (x.loadings @ left).abs().sum(0)  # a covariance is an inner product over frames
    main = torch.linalg.svdvals(whitened[: x.main, : y.main]).clamp_max(1)
    return Correlations(
        mean=correlations.mean().item(),
        svcca=main.mean().item(),
        pwcca=(weights @ correlations / weights.sum()).item(),
    )
