"""Connectionist temporal classification on an encoder: the supervised end of low-resource recognition.

Graves, Fernandez, Gomez and Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented
Sequence Data with Recurrent Neural Networks", ICML 2006, https://www.cs.toronto.edu/~graves/icml_2006.pdf.
A linear layer gives y^t_k, the probability of label k at frame t. A path pi has one label a frame:

    p(pi | x) = prod_t y^t_{pi_t}                                  (eq. 2)
    p(l | x)  = sum of p(pi | x) over the paths with B(pi) = l     (eq. 3)
    O         = - sum over (x, z) of ln p(z | x)                   (eq. 12)

where B drops repeated labels, then blanks. What of the encoder is trained when, and the masks, are in
`encoders/tuning.py`.

With `intermediate_layers` the same linear layer reads lower layers in training, too (Lee and Watanabe,
"Intermediate Loss Regularization for CTC-based Speech Recognition", ICASSP 2021,
https://arxiv.org/abs/2102.03216): the loss is (1 - w) O plus w times the mean of the lower layers' O. Layers
are read as the context gives them, without a normalisation of their own.

With `head: recurrent` two bidirectional LSTMs stand before that linear layer (`nn/heads.py`): what reads a
frozen encoder has to put frames together by itself.

With `momentum` a teacher writes the labels of batches that have none (Higuchi, Moritz, Le Roux and Hori,
"Momentum Pseudo-Labeling for Semi-Supervised Speech Recognition", Interspeech 2021,
https://arxiv.org/abs/2106.08922). Its weights xi follow the student's theta,

    xi = momentum * xi + (1 - momentum) * theta,   after each step

and its labels are those of its likeliest path through what nothing masks; the student learns them from masked
frames. Where the teacher writes nothing, nothing is learned: silence that it makes up would feed itself.

Labels of weight 0 (`Batch.weights`) are wildcards: any label but the blank (`nn/ctc.py`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.encoders.base import Encoder
from sonorant.encoders.tuning import (
    Share,
    TuningConfig,
    checked_labels,
    complementary_of,
    hidden_labels,
    layer_of,
    read,
    tuned,
    weighted_layers,
)
from sonorant.health import Sign, all_blank, silent_teacher
from sonorant.nn.ctc import blank_share, ctc_losses, fitting, likeliest
from sonorant.nn.dropout import Dropout
from sonorant.nn.heads import RecurrentHead
from sonorant.nn.momentum import follow, follower
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Hidden, Loss, Padded

HIDDEN = 256  # units of each direction of the recurrent head


class Config(TuningConfig, ObjectiveConfig, frozen=True, kw_only=True):
    head: Literal["linear", "recurrent"] = "linear"
    intermediate_layers: tuple[Annotated[int, Meta(ge=0)], ...] = ()  # that the head reads too, in training
    intermediate_weight: Share = 0.3  # w, of the mean of their losses
    momentum: Share | None = None  # of the teacher that labels batches without labels; None: there is none

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.momentum is not None and self.complementary is not None:
            raise ValueError("momentum and complementary: give one of them (both say what teaches)")

    def build(self, encoder: Encoder) -> "CTC":
        return CTC(encoder, self)


class CTC(Objective):
    """Labels from speech, frame by frame, trained on transcripts without times.

    Metrics: `blank_share` of the frames have the blank as their likeliest label (it nears 1 early in
    training and must fall); `too_short` is the share of utterances with fewer frames than their labels need.
    Of batches that the teacher labels, `empty_labels` is the share of utterances for which it writes nothing,
    `teacher_confidence` the mean posterior of its likeliest path's frames that are not blank.
    """

    updates: Tensor

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        self.dropout = Dropout(config.dropout)
        self.layers = weighted_layers(encoder, config)
        dim = encoder.context.dim
        self.head: nn.Module = nn.Linear(dim, config.labels)
        if config.head == "recurrent":
            self.head = RecurrentHead(dim, config.labels, hidden=HIDDEN)
        self.mask_embedding = nn.Parameter(torch.empty(encoder.context.dim).uniform_())
        self.complementary = complementary_of(config, encoder)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.teacher: CTC | None = None
        if config.momentum is not None:
            self.teacher = follower(self)

    def forward(self, batch: Batch) -> Loss:
        """The summed -ln p(z | x) and the number of labels, so that their ratio is a mean per character.

        An utterance whose labels do not fit into its frames has probability zero: it adds neither to the sum
        nor to the number. One without any label counts as one label, its blanks being what it teaches, unless
        the teacher wrote that: then it adds nothing. Hidden labels do not count.
        """
        config = self.config
        batch, told = self._taught(batch)
        labels = checked_labels(batch, config.labels)
        unknown = hidden_labels(batch, labels)
        hidden = self._encode(batch.inputs, batch if self.training else None)
        log_probabilities = self._head(read(hidden, config, self.layers))
        # eq. 12; without `told` the labels are a person's, and an empty one is a lesson, too
        counts = labels.lengths > 0 if told else torch.ones_like(labels.lengths, dtype=torch.bool)
        total = torch.where(counts, ctc_losses(log_probabilities, labels, unknown), 0.0).sum()
        if config.intermediate_layers and self.training:
            heads = (
                self._head(layer_of(hidden, layer, key="intermediate_layers"))
                for layer in config.intermediate_layers
            )
            losses = (torch.where(counts, ctc_losses(head, labels, unknown), 0.0) for head in heads)
            lower = torch.stack([each.sum() for each in losses])
            total = torch.lerp(total, lower.mean(), config.intermediate_weight)
        fits = fitting(labels, log_probabilities.lengths, unknown)
        metrics = {"blank_share": blank_share(log_probabilities), "too_short": (~fits).float().mean()}
        metrics |= told
        count = labels.lengths if unknown is None else labels.lengths - unknown.sum(1)
        loss = Loss(total, count.clamp(min=1)[fits & counts].sum(), metrics)
        return loss if self.complementary is None else self.complementary(loss, batch)

    def signs(self) -> Sequence[Sign]:
        writes = all_blank(self.config.freeze_context)
        return (writes,) if self.teacher is None else (writes, silent_teacher())

    def log_probabilities(self, inputs: Padded) -> Padded:
        """ln y^t_k of waveforms, `batch time labels`, nothing masked. For inference, call `eval()` first."""
        return self._head(read(self._encode(inputs, None), self.config, self.layers))

    def statistics(self) -> Sequence[Tensor]:
        return () if self.complementary is None else self.complementary.statistics()

    def after_step(self, step: int) -> None:
        self.updates.fill_(step)
        if self.complementary is not None:
            self.complementary.after_step()
        if self.teacher is not None:
            assert self.config.momentum is not None
            follow(self.teacher.network(), self.network(), self.config.momentum)

    def network(self) -> nn.ModuleList:
        """What turns waveforms into log probabilities: encoder, head, and the layers' weights if any."""
        parts = (self.encoder, self.head, self.layers)
        return nn.ModuleList([each for each in parts if each is not None])

    @torch.no_grad()
    def _taught(self, batch: Batch) -> tuple[Batch, dict[str, Tensor]]:
        """A batch with labels, the teacher's if it has none of its own, and their figures."""
        if self.teacher is None or batch.labels is not None:
            return batch, {}
        labels, sure = likeliest(self.teacher.eval().log_probabilities(batch.inputs))
        empty = (labels.lengths == 0).float().mean()
        return replace(batch, labels=labels), {"empty_labels": empty, "teacher_confidence": sure}

    def _encode(self, inputs: Padded, masked_by: Batch | None) -> Hidden:
        return tuned(
            self.encoder,
            self.config,
            inputs,
            updates=self.updates,
            embedding=self.mask_embedding,
            masked_by=masked_by,
            complementary=self.complementary,
        )

    def _head(self, hidden: Padded) -> Padded:
        # Zeroed, because whatever stands in the padding would reach the head's gradient as 0 * inf.
        values = self.dropout(hidden.zeroed().values)
        recurrent = isinstance(self.head, RecurrentHead)
        logits: Float[Tensor, "batch time labels"] = (
            self.head(Padded(values, hidden.lengths)).values if recurrent else self.head(values)
        )
        return Padded(F.log_softmax(logits.float(), dim=-1), hidden.lengths)
