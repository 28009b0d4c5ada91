"""data2vec: predict, where frames are hidden, what a slow copy of the network makes of all of them.

A. Baevski, W.-N. Hsu, Q. Xu, A. Babu, J. Gu, M. Auli, "data2vec: A General Framework for Self-supervised
Learning in Speech, Vision and Language", ICML 2022, https://arxiv.org/abs/2202.03555

The student sees the utterance with spans of projected frames replaced by a learned embedding, and f_t(x) is
a linear map of its output. The teacher's weights Delta follow the student's theta; it sees everything. With
a_t^l the output of the feed-forward block of its layer l (before it is added to the block's input), each
channel standardised over the utterance (instance normalisation), of the last K of L layers,

    Delta = tau Delta + (1 - tau) theta                                                      (section 3.3)
    y_t   = 1/K sum over l = L - K + 1 .. L of norm(a_t^l)                                   (section 3.3)
    L     = sum over hidden t of || y_t - f_t(x) ||^2 / sqrt(d)                              (section 3.4)

tau grows linearly from tau_0 to tau_e over the first tau_n updates. Front end, projection and convolutional
positions are the student's own. The factor 1/sqrt(d), d the width, is that of the authors' code, fairseq,
where the paper has 1/2.

Deviations: statistics of the instance normalisation are those of an utterance's real frames, where fairseq
counts the padding; the number of hidden frames is each utterance's own, where fairseq hides equally many in
all utterances of a batch; positions are this project's, where the published model has five convolutions of
width 95. fairseq's training stops when `target_deviation` is below 0.1 or `prediction_deviation` below 0.01
after 5000 updates; here that is told, and stops if `train.stop_on_collapse` asks for it.
"""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sonorant.encoders.base import Encoder
from sonorant.encoders.teacher import Teacher, check_teachable
from sonorant.health import Sign, flat_teacher
from sonorant.nn.masking import span_mask
from sonorant.nn.momentum import linear_momentum
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss, Padded

Decay = Annotated[float, Meta(ge=0, le=1)]


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """The BASE model's numbers. Spans are in frames: of 20 ms behind the paper's front end."""

    mask_probability: Annotated[float, Meta(ge=0, le=1)] = 0.65  # spans may overlap, so that 49 % are hidden
    mask_length: Annotated[int, Meta(ge=1)] = 10
    top_layers: Annotated[int, Meta(ge=1)] = 8  # K
    decay_start: Decay = 0.999  # tau_0
    decay_end: Decay = 0.9999  # tau_e
    decay_steps: Annotated[int, Meta(ge=1)] = 30_000  # tau_n

    def build(self, encoder: Encoder) -> "Data2Vec":
        """ValueError: a context network without feed-forward blocks, or with fewer than `top_layers`."""
        check_teachable("data2vec", encoder.context, self.top_layers)
        return Data2Vec(encoder, self)


class Data2Vec(Objective):
    """See the head of this file."""

    decay: Tensor

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        dim = encoder.context.dim
        self.teacher = Teacher(encoder.context)
        self.mask_embedding = nn.Parameter(torch.rand(dim))
        self.predict = nn.Linear(dim, dim)
        self.register_buffer("decay", torch.tensor(config.decay_start))

    def forward(self, batch: Batch) -> Loss:
        frames = self.encoder.frontend(batch.inputs)
        projected = self.encoder.projection(frames.values)
        hidden = span_mask(
            frames.lengths.cpu(),
            batch.generators(),
            probability=self.config.mask_probability,
            length=self.config.mask_length,
            time=projected.shape[1],
        ).to(projected.device)
        layers = self.teacher.targets(Padded(projected, frames.lengths), self.config.top_layers)
        targets = torch.stack([layer.values[hidden] for layer in layers]).mean(0)

        seen = torch.where(
            hidden[..., None], self.mask_embedding.to(projected), self.encoder.dropout(projected)
        )
        context = self.encoder.context(Padded(seen, frames.lengths)).last.values[hidden]
        predicted = self.predict(context).float()
        total = (targets - predicted).square().sum() / math.sqrt(targets.shape[-1])
        metrics = {
            "target_deviation": _deviation(targets),
            "prediction_deviation": _deviation(predicted.detach()),
            "hidden_share": hidden.sum() / frames.lengths.sum().clamp(min=1),
            "decay": self.decay.clone(),
        }
        return Loss(total, hidden.sum(), metrics)

    def signs(self) -> Sequence[Sign]:
        return flat_teacher("slow the teacher (objective.decay_start), lower schedule.peak and begin again")

    def after_step(self, step: int) -> None:
        config = self.config
        decay = linear_momentum(step, config.decay_steps, config.decay_start, config.decay_end)
        self.decay.fill_(decay)
        self.teacher.follow(self.encoder.context, decay)


def _deviation(frames: Float[Tensor, "frames dim"]) -> Float[Tensor, ""]:
    """The standard deviation over frames, the mean over channels: near 0 if all are the same."""
    return (frames.var(0, correction=0) + 1e-6).sqrt().mean()
