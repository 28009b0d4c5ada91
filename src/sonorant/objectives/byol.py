"""BYOL: predict what a slow copy of the network makes of the other view.

J.-B. Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning", NeurIPS 2020,
https://arxiv.org/abs/2006.07733

The online network has the weights theta: encoder, projector, predictor q. The target network has an encoder
and a projector with the weights xi. With z online and z' the target's projection of the other view,

    L_theta,xi = || norm(q(z)) - norm(z') ||^2 = 2 - 2 cos(q(z), z')                     (eq. 2)
    L = L_theta,xi + the same with the views exchanged                                  (section 3.1)
    xi = tau xi + (1 - tau) theta,   after each step                                     (eq. 1)
    tau = 1 - (1 - tau_base) (cos(pi k / K) + 1) / 2   at step k of K                    (section 3.2)

K is `momentum_steps`, a setting of its own: an objective does not know how long training will be, so give
it the number of steps. No gradient enters the target.

`encoders/two_views.py` tells how images became speech, and of BYOL-A. There are no negatives, but projectors
and predictor normalise over this process's batch, as in the paper, each view by itself.
Deviation: AdamW instead of LARS.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.data.recordings import sounds
from sonorant.encoders.base import Encoder
from sonorant.encoders.two_views import embed, nothing_to_learn, perceptron, two_views
from sonorant.health import Sign, same_embeddings
from sonorant.nn.embeddings import Embeddings, health
from sonorant.nn.momentum import cosine_momentum, follow, follower
from sonorant.nn.views import ViewConfig
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss

Count = Annotated[int, Meta(ge=1)]


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """Settings of BYOL; `momentum` is tau_base."""

    momentum: Annotated[float, Meta(ge=0, le=1)] = 0.996
    momentum_steps: Count = 100_000
    hidden: Count = 4096  # of projector and predictor
    dim: Count = 256
    views: ViewConfig = ViewConfig()

    def build(self, encoder: Encoder) -> "BYOL":
        return BYOL(encoder, self)


class BYOL(Objective):
    """See the head of this file."""

    couples_utterances = True

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        self.sounds = sounds(config.views, encoder.frontend.rate, key="objective.views")
        self.project = perceptron([encoder.context.dim, config.hidden, config.dim], norm=True)
        self.predict = perceptron([config.dim, config.hidden, config.dim], norm=True)
        self.target_encoder, self.target_project = follower(encoder), follower(self.project)

    def forward(self, batch: Batch) -> Loss:
        if nothing := nothing_to_learn(batch):
            return nothing
        views = two_views(batch, self.config.views, self.encoder.frontend, self.sounds)
        first, second = (self.project(embed(self.encoder, view)) for view in views)
        with torch.no_grad():
            target_first, target_second = (
                self.target_project(embed(self.target_encoder, view)) for view in views
            )
        losses = distance(self.predict(first), target_second) + distance(self.predict(second), target_first)
        return Loss(losses.sum(), torch.tensor(len(losses)), health(first, second))

    def signs(self) -> Sequence[Sign]:
        return same_embeddings(
            "slow the target (objective.momentum), lower schedule.peak, or take vicreg, whose loss forbids it"
        )

    def after_step(self, step: int) -> None:
        momentum = cosine_momentum(step, self.config.momentum_steps, self.config.momentum)
        fast = nn.ModuleList([self.encoder, self.project])
        follow(nn.ModuleList([self.target_encoder, self.target_project]), fast, momentum)


def distance(predicted: Embeddings, target: Embeddings) -> Float[Tensor, " batch"]:
    """2 - 2 cos, row by row (eq. 2)."""
    return 2 - 2 * F.cosine_similarity(predicted.float(), target.float(), dim=1)
