"""DinoSR: name, where frames are hidden, the clusters that a slow copy of the network puts them into.

A. H. Liu, H.-J. Chang, M. Auli, W.-N. Hsu, J. Glass, "DinoSR: Self-Distillation and Online Clustering for
Self-supervised Speech Representation Learning", NeurIPS 2023, https://arxiv.org/abs/2305.10005

Student and teacher are data2vec's. With z_t^k what the feed-forward block of the teacher's layer k adds,
each channel standardised over the utterance, e_v^k the codewords of that layer and M the hidden frames, for
the last K of L layers,

    Z_v^k = { z_t^k : t in M, v = argmin_i || z_t^k - e_i^k || }
    e_v^k = s_v^k / n_v^k
    s_v^k = tau s_v^k + (1 - tau) sum over z in Z_v^k of z
    n_v^k = tau n_v^k + (1 - tau) |Z_v^k|
    L     = - sum over t in M of 1/K sum over k of log p_k(v_t^k | x with M hidden)

v_t^k is the cluster of z_t^k, and p_k a softmax of a linear map of the student's output. Codewords that no
frame is nearest to stay where they are, as in the authors' code. From `freeze_step` on the teacher stands
still and, since its input must do so too, front end and projection as well; the codewords still move.

An update takes the frames of all batches of a step, on all processes: they are summed as gradients are. With
few frames for many codes most codewords find none and lie idle for good: a step's batches should hold several
times as many hidden frames as `codes`. Look at `code_perplexity`.

Deviations: the codewords move once a step, where the authors' move with each batch that is accumulated;
statistics of the instance normalisation are those of an utterance's real frames; the number of hidden
frames is each utterance's own; positions are this project's, where the published model has five
convolutions of width 95.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.encoders.base import Encoder
from sonorant.encoders.teacher import Teacher, check_teachable
from sonorant.health import Sign, few_codes
from sonorant.nn.masking import span_mask
from sonorant.nn.momentum import linear_momentum
from sonorant.nn.online_codebooks import OnlineCodebooks
from sonorant.nn.usage import code_use, perplexity_of
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss, Padded

Count = Annotated[int, Meta(ge=1)]
Decay = Annotated[float, Meta(ge=0, le=1)]


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """The published model's numbers. Spans are in frames: of 20 ms behind the paper's front end."""

    mask_probability: Annotated[float, Meta(ge=0, le=1)] = 0.8  # spans may overlap
    mask_length: Count = 10
    top_layers: Count = 8  # K
    codes: Annotated[int, Meta(ge=2)] = 256  # of each layer's codebook
    codebook_decay: Decay = 0.9  # tau
    decay_start: Decay = 0.999  # of the teacher, growing in a straight line
    decay_end: Decay = 0.9999
    decay_steps: Count = 30_000
    freeze_step: Count | None = 200_000  # null: never

    def build(self, encoder: Encoder) -> "DinoSR":
        """ValueError: a context network without feed-forward blocks, or with fewer than `top_layers`."""
        check_teachable("dinosr", encoder.context, self.top_layers)
        return DinoSR(encoder, self)


class DinoSR(Objective):
    """See the head of this file."""

    decay: Tensor

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        dim = encoder.context.dim
        self.teacher = Teacher(encoder.context)
        self.codebooks = OnlineCodebooks(config.top_layers, config.codes, dim)
        self.mask_embedding = nn.Parameter(torch.rand(dim))
        self.predict = nn.Linear(dim, config.top_layers * config.codes)
        self.register_buffer("decay", torch.tensor(config.decay_start))

    def forward(self, batch: Batch) -> Loss:
        frames = self.encoder.frontend(batch.inputs)
        projected = self.encoder.projection(frames.values)
        if self.frozen:
            projected = projected.detach()
        hidden = span_mask(
            frames.lengths.cpu(),
            batch.generators(),
            probability=self.config.mask_probability,
            length=self.config.mask_length,
            time=projected.shape[1],
        ).to(projected.device)
        layers = self.teacher.targets(Padded(projected, frames.lengths), self.config.top_layers)
        targets = torch.stack([layer.values[hidden] for layer in layers])
        labels = self.codebooks.assign(targets)
        if self.training:
            self.codebooks.observe(targets, labels)

        seen = torch.where(
            hidden[..., None], self.mask_embedding.to(projected), self.encoder.dropout(projected)
        )
        context = self.encoder.context(Padded(seen, frames.lengths)).last.values[hidden]
        scores = self.predict(context).float().unflatten(-1, (self.config.top_layers, self.config.codes))
        losses = F.cross_entropy(scores.flatten(0, 1), labels.T.flatten(), reduction="sum")
        used = perplexity_of(F.one_hot(labels, self.config.codes).float().mean(1))
        metrics = {
            "accuracy": (scores.detach().argmax(-1) == labels.T).float().mean(),
            "code_perplexity": used.mean(),
            "code_use": code_use(used, self.config.codes, labels.shape[1]),
            "prediction_perplexity": perplexity_of(scores.detach().softmax(-1).mean(0)).mean(),
            "hidden_share": hidden.sum() / frames.lengths.sum().clamp(min=1),
            "decay": self.decay.clone(),
        }
        return Loss(losses / self.config.top_layers, hidden.sum(), metrics)

    def signs(self) -> Sequence[Sign]:
        advice = (
            "take larger steps (data.batch_seconds, train.accumulate) or fewer codes, or a slower teacher"
        )
        return (few_codes(self.config.codes, f"{advice} (decay_start), and begin again"),)

    @property
    def frozen(self) -> bool:
        """Whether the teacher stands still."""
        return bool(self.decay == 1)

    def statistics(self) -> Sequence[Tensor]:
        return self.codebooks.statistics()

    def after_step(self, step: int) -> None:
        config = self.config
        self.codebooks.update(config.codebook_decay)
        if config.freeze_step is not None and step >= config.freeze_step:
            self.decay.fill_(1)
            return
        decay = linear_momentum(step, config.decay_steps, config.decay_start, config.decay_end)
        self.decay.fill_(decay)
        self.teacher.follow(self.encoder.context, decay)
