"""SimCLR: find the other view of an utterance among all views of the batch.

T. Chen, S. Kornblith, M. Norouzi, G. Hinton, "A Simple Framework for Contrastive Learning of Visual
Representations", ICML 2020, https://arxiv.org/abs/2002.05709

With z_i = W2 relu(W1 h_i) the projected embeddings of 2N views, two of each utterance, and (i, j) a pair,

    l(i, j) = -log( exp(sim(z_i, z_j) / tau) / sum over k != i of exp(sim(z_i, z_k) / tau) )        (eq. 1)
    L = 1/(2N) sum over all pairs of l(i, j) + l(j, i)                                      (algorithm 1)

sim is the cosine. `encoders/two_views.py` tells how images became speech. The negatives are those of this
process's batch: nothing is gathered from others, and accumulated batches stay apart, so the number of
utterances in a batch matters. Two clips of one recording or speaker are negatives like any others.

Deviations: AdamW instead of LARS; no batch normalisation in the projector, as the paper's text has it, while
its code has some.
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
from sonorant.nn.embeddings import Embeddings, alignment, health, uniformity
from sonorant.nn.views import ViewConfig
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss

Count = Annotated[int, Meta(ge=1)]


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """Settings of SimCLR; `temperature` is tau. The paper's widths are those behind a ResNet-50."""

    temperature: Annotated[float, Meta(gt=0)] = 0.1
    hidden: Count = 2048
    dim: Count = 128
    views: ViewConfig = ViewConfig()

    def build(self, encoder: Encoder) -> "SimCLR":
        return SimCLR(encoder, self)


class SimCLR(Objective):
    """See the head of this file."""

    couples_utterances = True

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        self.sounds = sounds(config.views, encoder.frontend.rate, key="objective.views")
        self.project = perceptron([encoder.context.dim, config.hidden, config.dim], norm=False)

    def forward(self, batch: Batch) -> Loss:
        if nothing := nothing_to_learn(batch):
            return nothing
        views = two_views(batch, self.config.views, self.encoder.frontend, self.sounds)
        first, second = (self.project(embed(self.encoder, view)).float() for view in views)
        losses = nt_xent(first, second, temperature=self.config.temperature)
        with torch.no_grad():
            figures = {"alignment": alignment(first, second), "uniformity": uniformity(first)}
        return Loss(losses.sum(), torch.tensor(len(losses)), health(first, second) | figures)

    def signs(self) -> Sequence[Sign]:
        return same_embeddings(
            "lower schedule.peak, lengthen schedule.warmup, or raise objective.temperature, and begin again"
        )


def nt_xent(first: Embeddings, second: Embeddings, *, temperature: float) -> Float[Tensor, " views"]:
    """l(i, j) of each view, the first ones and then the second."""
    with torch.autocast(first.device.type, enabled=False):
        z = F.normalize(torch.cat([first, second]), dim=1)
        similar = (z / temperature) @ z.T
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    partners = torch.arange(len(z), device=z.device).roll(len(first))
    return F.cross_entropy(similar.masked_fill(itself, -torch.inf), partners, reduction="none")  # eq. 1
