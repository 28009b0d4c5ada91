"""MoCo: find the other view of an utterance among a queue of earlier ones, as a slow encoder sees them.

K. He, H. Fan, Y. Wu, S. Xie, R. Girshick, "Momentum Contrast for Unsupervised Visual Representation
Learning", CVPR 2020, https://arxiv.org/abs/1911.05722 (v1), and X. Chen, H. Fan, R. Girshick, K. He,
"Improved Baselines with Momentum Contrastive Learning", 2020, https://arxiv.org/abs/2003.04297 (v2)

With q the query, from one view by the encoder, k+ its key, from the other view by the slow encoder, and k_1
.. k_K the queue, the keys of earlier batches, all of unit length,

    L_q = -log( exp(q k+ / tau) / ( exp(q k+ / tau) + sum over i = 1 .. K of exp(q k_i / tau) ) )     (eq. 1)
    theta_k = m theta_k + (1 - m) theta_q,   after each step                                          (eq. 2)

The defaults are v2's: a head of two layers, tau = 0.2; with `train.schedule.decay: cosine` and stronger
views that is all that v2 changes. v1 is `head: linear, temperature: 0.07`.

A step's keys enter the queue after it and push out the oldest. No gradient enters them. Negatives come from
the queue alone, and neither encoder nor head normalises over the batch, so an utterance's loss does not
depend on its neighbours, and the paper's shuffling, which is there for batch normalisation, is not needed.
Every process has a queue of its own keys; a checkpoint holds that of the first one, and all continue from it.
An utterance in the queue from an epoch before is a negative like any others.

`encoders/two_views.py` tells how images became speech. Deviation: AdamW instead of SGD.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.data.recordings import sounds
from sonorant.encoders.base import Encoder
from sonorant.encoders.two_views import embed, perceptron, two_views
from sonorant.health import Sign, same_embeddings
from sonorant.nn.embeddings import Embeddings, health
from sonorant.nn.momentum import follow, follower
from sonorant.nn.views import ViewConfig
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss

Count = Annotated[int, Meta(ge=1)]


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """Settings of MoCo; `queue` is K, `momentum` m and `temperature` tau. `hidden` is for the mlp head."""

    queue: Count = 65536
    momentum: Annotated[float, Meta(ge=0, le=1)] = 0.999
    temperature: Annotated[float, Meta(gt=0)] = 0.2
    head: Literal["linear", "mlp"] = "mlp"
    hidden: Count = 2048
    dim: Count = 128
    views: ViewConfig = ViewConfig()

    def build(self, encoder: Encoder) -> "MoCo":
        return MoCo(encoder, self)


class MoCo(Objective):
    """See the head of this file."""

    queue: Tensor
    oldest: Tensor
    waiting: Tensor

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        self.sounds = sounds(config.views, encoder.frontend.rate, key="objective.views")
        inner = [config.hidden] if config.head == "mlp" else []
        self.project = perceptron([encoder.context.dim, *inner, config.dim], norm=False)
        self.key_encoder, self.key_project = follower(encoder), follower(self.project)
        self.register_buffer("queue", F.normalize(torch.randn(config.queue, config.dim), dim=1))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.int64))
        # keys of a step under way; between steps there are none
        self.register_buffer("waiting", torch.empty(0, config.dim), persistent=False)

    def forward(self, batch: Batch) -> Loss:
        for_query, for_key = two_views(batch, self.config.views, self.encoder.frontend, self.sounds)
        query = F.normalize(self.project(embed(self.encoder, for_query)).float(), dim=1)
        with torch.no_grad():
            key = F.normalize(self.key_project(embed(self.key_encoder, for_key)).float(), dim=1)
        logits = similarities(query / self.config.temperature, key, self.queue)
        losses = F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.int64), reduction="none")
        if self.training:
            self.waiting = torch.cat([self.waiting, key])[-len(self.queue) :]
        figures = {"accuracy": (logits[:, :1] > logits[:, 1:]).all(1).float().mean()}
        return Loss(losses.sum(), torch.tensor(len(losses)), health(query, key) | figures)

    def signs(self) -> Sequence[Sign]:
        return same_embeddings(
            "lower schedule.peak, raise objective.momentum, or lengthen schedule.warmup, and begin again"
        )

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        fast = nn.ModuleList([self.encoder, self.project])
        follow(nn.ModuleList([self.key_encoder, self.key_project]), fast, self.config.momentum)  # eq. 2
        count = len(self.waiting)
        places = (self.oldest + torch.arange(count, device=self.queue.device)) % len(self.queue)
        self.queue[places] = self.waiting
        self.oldest.add_(count).remainder_(len(self.queue))
        self.waiting = self.waiting[:0]


def similarities(query: Embeddings, key: Embeddings, queue: Embeddings) -> Float[Tensor, "batch candidates"]:
    """Products of each query with its key, first, and with the queue."""
    with torch.autocast(query.device.type, enabled=False):
        return torch.cat([(query * key).sum(1, keepdim=True), query @ queue.T], dim=1)
