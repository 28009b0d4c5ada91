"""VICReg: two views agree, every dimension varies, and no two dimensions tell the same.

A. Bardes, J. Ponce, Y. LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised
Learning", ICLR 2022, https://arxiv.org/abs/2105.04906

With Z and Z' the expanded embeddings of a batch's n utterances, d wide, from the two views,

    v(Z) = 1/d sum over j of max(0, 1 - sqrt(Var(z^j) + eps))                        (eq. 1 and 2)
    c(Z) = 1/d sum over i != j of C(Z)_ij^2                                          (eq. 3 and 4)
    s(Z, Z') = 1/n sum over i of ||z_i - z'_i||^2                                    (eq. 5)
    L = lambda s(Z, Z') + mu (v(Z) + v(Z')) + nu (c(Z) + c(Z'))                      (eq. 6)

C is the covariance matrix, and variance and covariance divide by n - 1. What is computed is the authors'
code where it departs from the paper: s is a mean over the d dimensions too, and v(Z) + v(Z') is halved. The
weights are meant for that.

`encoders/two_views.py` tells how images became speech. The statistics, and those of the expander's batch
normalisation, are of this process's batch, and accumulated batches stay apart. A batch's loss counts once
for each of its utterances. Deviation: AdamW instead of LARS.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor
from torch.nn import functional as F

from sonorant.data.recordings import sounds
from sonorant.encoders.base import Encoder
from sonorant.encoders.two_views import embed, nothing_to_learn, perceptron, two_views
from sonorant.health import Sign, same_embeddings
from sonorant.nn.embeddings import Embeddings, health
from sonorant.nn.views import ViewConfig
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss

EPSILON = 1e-4
Weight = Annotated[float, Meta(ge=0)]
Term = Float[Tensor, ""]


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """Settings of VICReg: lambda, mu and nu, and the width of the expander's three layers."""

    invariance: Weight = 25.0
    variance: Weight = 25.0
    covariance: Weight = 1.0
    dim: Annotated[int, Meta(ge=1)] = 8192
    views: ViewConfig = ViewConfig()

    def build(self, encoder: Encoder) -> "VICReg":
        return VICReg(encoder, self)


class VICReg(Objective):
    """See the head of this file."""

    couples_utterances = True

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        self.sounds = sounds(config.views, encoder.frontend.rate, key="objective.views")
        self.expand = perceptron([encoder.context.dim, *[config.dim] * 3], norm=True)

    def forward(self, batch: Batch) -> Loss:
        if nothing := nothing_to_learn(batch):
            return nothing
        config = self.config
        views = two_views(batch, config.views, self.encoder.frontend, self.sounds)
        first, second = (self.expand(embed(self.encoder, view)).float() for view in views)
        distance, spread, redundancy = terms(first, second)
        loss = (
            config.invariance * distance + config.variance * spread + config.covariance * redundancy
        )  # eq. 6
        figures = {
            "invariance": distance.detach(),
            "variance": spread.detach(),
            "covariance": redundancy.detach(),
        }
        return Loss(loss * len(first), torch.tensor(len(first)), health(first, second) | figures)

    def signs(self) -> Sequence[Sign]:
        return same_embeddings("raise objective.variance or lower schedule.peak and begin again")


def terms(first: Embeddings, second: Embeddings) -> tuple[Term, Term, Term]:
    """s, half of v(Z) + v(Z'), and c(Z) + c(Z'): what eq. 6 weighs."""
    spread = (variance(first) + variance(second)) / 2
    return F.mse_loss(first, second), spread, covariance(first) + covariance(second)


def variance(z: Embeddings) -> Term:
    """v: how far the dimensions' standard deviations fall short of 1."""
    return F.relu(1 - (z.var(0) + EPSILON).sqrt()).mean()


def covariance(z: Embeddings) -> Term:
    """c: the squared covariances of different dimensions, over their number."""
    centred = z - z.mean(0)
    with torch.autocast(z.device.type, enabled=False):
        matrix = centred.T @ centred / (len(z) - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / z.shape[1]
