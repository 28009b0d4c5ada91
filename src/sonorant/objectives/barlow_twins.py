"""Barlow Twins: across two views, each dimension is correlated with itself and with no other.

J. Zbontar, L. Jing, I. Misra, Y. LeCun, S. Deny, "Barlow Twins: Self-Supervised Learning via Redundancy
Reduction", ICML 2021, https://arxiv.org/abs/2103.03230

With z^A and z^B the projected embeddings of a batch's utterances b from the two views, their mean over the
batch taken off,

    L = sum over i of (1 - C_ii)^2 + lambda sum over i, j != i of C_ij^2                              (eq. 1)
    C_ij = sum over b of z^A_bi z^B_bj / sqrt( sum over b of (z^A_bi)^2 sum over b of (z^B_bj)^2 )    (eq. 2)

`encoders/two_views.py` tells how images became speech. The correlations, and the statistics of the
projector's batch normalisation, are of this process's batch, and accumulated batches stay apart. A batch's
loss counts once for each of its utterances. Deviation: AdamW instead of LARS.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from sonorant.data.recordings import sounds
from sonorant.encoders.base import Encoder
from sonorant.encoders.two_views import embed, nothing_to_learn, perceptron, two_views
from sonorant.health import Sign, same_embeddings
from sonorant.nn.embeddings import Embeddings, health
from sonorant.nn.views import ViewConfig
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss

EPSILON = 1e-5  # on the variance, as batch normalisation has it in the authors' code


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """Settings of Barlow Twins; `redundancy` is lambda, `dim` the width of the projector's three layers."""

    redundancy: Annotated[float, Meta(ge=0)] = 5e-3
    dim: Annotated[int, Meta(ge=1)] = 8192
    views: ViewConfig = ViewConfig()

    def build(self, encoder: Encoder) -> "BarlowTwins":
        return BarlowTwins(encoder, self)


class BarlowTwins(Objective):
    """See the head of this file."""

    couples_utterances = True

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        self.sounds = sounds(config.views, encoder.frontend.rate, key="objective.views")
        self.project = perceptron([encoder.context.dim, *[config.dim] * 3], norm=True)

    def forward(self, batch: Batch) -> Loss:
        if nothing := nothing_to_learn(batch):
            return nothing
        views = two_views(batch, self.config.views, self.encoder.frontend, self.sounds)
        first, second = (self.project(embed(self.encoder, view)).float() for view in views)
        correlated = cross_correlation(first, second)
        on, off = deviations(correlated)
        loss = on + self.config.redundancy * off  # eq. 1
        dim = self.config.dim
        figures = {
            "correlation": correlated.detach().diagonal().mean(),
            "redundancy": (off.detach() / max(dim * (dim - 1), 1)).clamp(min=0).sqrt(),
        }
        return Loss(loss * len(first), torch.tensor(len(first)), health(first, second) | figures)

    def signs(self) -> Sequence[Sign]:
        return same_embeddings("lower schedule.peak or lengthen schedule.warmup and begin again")


def cross_correlation(first: Embeddings, second: Embeddings) -> Float[Tensor, "dim dim"]:
    """C, rows for the first view's dimensions and columns for the second's."""
    one, two = ((z - z.mean(0)) * (z.var(0, correction=0) + EPSILON).rsqrt() for z in (first, second))
    with torch.autocast(first.device.type, enabled=False):
        return one.T @ two / len(one)  # eq. 2


def deviations(correlated: Float[Tensor, "dim dim"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """How far C is from the identity: eq. 1's sums over its diagonal and over the rest, without lambda."""
    itself = correlated.diagonal()
    return (1 - itself).square().sum(), correlated.square().sum() - itself.square().sum()
