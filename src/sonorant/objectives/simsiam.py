"""SimSiam: predict one view's embedding from the other's, without negatives or a slow network.

X. Chen, K. He, "Exploring Simple Siamese Representation Learning", CVPR 2021, https://arxiv.org/abs/2011.10566

With z1 and z2 the projected embeddings of the two views and p1 = h(z1), p2 = h(z2) what the predictor makes
of them,

    D(p, z) = - (p / ||p||) (z / ||z||)                                                  (eq. 1)
    L = 1/2 D(p1, stopgrad(z2)) + 1/2 D(p2, stopgrad(z1))                                (eq. 4)

Without the stop or without the predictor all embeddings become one and the loss reaches -1: the loss alone
does not tell. `embedding_std` does: 0 if so, near 1 if all is well (the paper's figure 2, which plots it
over the root of the width).

`encoders/two_views.py` tells how images became speech. In the one public table with all these methods on
speech, sslsv's, SimSiam is the weakest by far. Projector and predictor normalise over this process's batch,
each view by itself, as in the paper. Deviation: AdamW instead of SGD; the predictor's rate decays with the
others.
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

Count = Annotated[int, Meta(ge=1)]


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """Settings of SimSiam: the width of the projector's three layers and of the predictor's narrow one."""

    dim: Count = 2048
    bottleneck: Count = 512
    views: ViewConfig = ViewConfig()

    def build(self, encoder: Encoder) -> "SimSiam":
        return SimSiam(encoder, self)


class SimSiam(Objective):
    """See the head of this file."""

    couples_utterances = True

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        self.sounds = sounds(config.views, encoder.frontend.rate, key="objective.views")
        self.project = perceptron([encoder.context.dim, *[config.dim] * 3], norm=True, last_norm=True)
        self.predict = perceptron([config.dim, config.bottleneck, config.dim], norm=True)

    def forward(self, batch: Batch) -> Loss:
        if nothing := nothing_to_learn(batch):
            return nothing
        views = two_views(batch, self.config.views, self.encoder.frontend, self.sounds)
        z1, z2 = (self.project(embed(self.encoder, view)) for view in views)
        p1, p2 = self.predict(z1), self.predict(z2)
        losses = negative_cosine(p1, z2) / 2 + negative_cosine(p2, z1) / 2  # eq. 4
        return Loss(losses.sum(), torch.tensor(len(losses)), health(z1, z2))

    def signs(self) -> Sequence[Sign]:
        return same_embeddings("lower schedule.peak, take larger batches, or vicreg, whose loss forbids it")


def negative_cosine(p: Embeddings, z: Embeddings) -> Float[Tensor, " batch"]:
    """D(p, stopgrad(z)), row by row (eq. 1)."""
    return -F.cosine_similarity(p.float(), z.detach().float(), dim=1)
