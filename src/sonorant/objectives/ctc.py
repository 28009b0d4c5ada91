"""Connectionist temporal classification on an encoder: the supervised end of low-resource recognition.

Graves, Fernandez, Gomez and Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented
Sequence Data with Recurrent Neural Networks", ICML 2006, https://www.cs.toronto.edu/~graves/icml_2006.pdf.
A linear layer gives y^t_k, the probability of label k at frame t. A path pi has one label a frame:

    p(pi | x) = prod_t y^t_{pi_t}                                  (eq. 2)
    p(l | x)  = sum of p(pi | x) over the paths with B(pi) = l     (eq. 3)
    O         = - sum over (x, z) of ln p(z | x)                   (eq. 12)

where B drops repeated labels, then blanks.

The fine-tuning recipe is that of Baevski, Zhou, Mohamed and Auli, "wav2vec 2.0", NeurIPS 2020, section 4.3
and appendix B, https://arxiv.org/abs/2006.11477: the front end stays as it was pre-trained, the context
network waits until the new head has found its feet, and spans of frames and of channels are masked. Masked
frames become a learned embedding, as in pre-training; masked channels are zero throughout the utterance.
"""

import contextlib
from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.encoders.base import Encoder
from sonorant.health import Sign, all_blank
from sonorant.nn.dropout import Dropout
from sonorant.nn.masking import span_mask
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Hidden, Loss, Padded

Share = Annotated[float, Meta(ge=0, le=1)]


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """The default masks are wav2vec 2.0's for ten hours of transcribed speech, at 50 frames a second."""

    labels: Annotated[int, Meta(ge=2)]  # the vocabulary's size, the blank (label 0) included
    layer: Annotated[int, Meta(ge=0)] | None = None  # that feeds the head, from 0; None: the last
    freeze_frontend: bool = True
    freeze_context: Annotated[int, Meta(ge=0)] = 0  # updates in which projection and context stay as they are
    time_mask_probability: Share = 0.65  # spans times their length, over the frames; spans may overlap
    time_mask_length: Annotated[int, Meta(ge=1)] = 10  # frames
    channel_mask_probability: Share = 0.5  # likewise, over the channels
    channel_mask_length: Annotated[int, Meta(ge=1)] = 64  # channels
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.1  # before the head

    def build(self, encoder: Encoder) -> "CTC":
        return CTC(encoder, self)


class CTC(Objective):
    """Labels from speech, frame by frame, trained on transcripts without times.

    Frozen parts compute without gradients, so their gradients stay None and no optimizer moves or decays
    them. Metrics: `blank_share` of the frames have the blank as their likeliest label (it nears 1 early in
    training and must fall); `too_short` is the share of utterances with fewer frames than their labels need.
    """

    updates: Tensor

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        self.dropout = Dropout(config.dropout)
        self.head = nn.Linear(encoder.context.dim, config.labels)
        self.mask_embedding = nn.Parameter(torch.empty(encoder.context.dim).uniform_())
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> Loss:
        """The summed -ln p(z | x) and the number of labels, so that their ratio is a mean per character.

        An utterance whose labels do not fit into its frames has probability zero: it adds neither to the sum
        nor to the number. One without any label counts as one label, its blanks being what it teaches.
        """
        labels = self._labels(batch)
        log_probabilities = self._head(self._encode(batch.inputs, batch if self.training else None))
        losses, fits = losses_and_fits(log_probabilities, labels)
        blank = log_probabilities.values.detach().argmax(-1) == 0
        metrics = {
            "blank_share": blank[log_probabilities.mask].float().mean(),
            "too_short": (~fits).float().mean(),
        }
        return Loss(losses.sum(), labels.lengths.clamp(min=1)[fits].sum(), metrics)

    def signs(self) -> Sequence[Sign]:
        return (all_blank(self.config.freeze_context),)

    def log_probabilities(self, inputs: Padded) -> Padded:
        """ln y^t_k of waveforms, `batch time labels`, nothing masked. For inference, call `eval()` first."""
        return self._head(self._encode(inputs, None))

    def after_step(self, step: int) -> None:
        self.updates.fill_(step)

    def _encode(self, inputs: Padded, masked_by: Batch | None) -> Padded:
        config = self.config
        with _gradients(on=not config.freeze_frontend):
            frames = self.encoder.frontend(inputs)
        with _gradients(on=torch.is_grad_enabled() and int(self.updates) >= config.freeze_context):
            projected = self.encoder.project(frames)
            if masked_by is not None:
                projected = self._mask(projected, masked_by)
            hidden: Hidden = self.encoder.context(projected)
        if config.layer is None:
            return hidden.last
        if config.layer >= len(hidden.layers):
            last = len(hidden.layers) - 1
            raise ValueError(f"objective.layer: {config.layer} is not a layer of the context, 0 to {last}")
        return Padded(hidden.layers[config.layer], hidden.lengths)

    def _mask(self, frames: Padded, batch: Batch) -> Padded:
        config, device = self.config, frames.values.device
        count, time, dim = frames.values.shape
        generators = batch.generators()
        times: Bool[Tensor, "batch time"] = span_mask(
            frames.lengths.cpu(),
            generators,
            probability=config.time_mask_probability,
            length=config.time_mask_length,
            minimum=0,
            time=time,
        ).to(device)
        channels: Bool[Tensor, "batch dim"] = span_mask(
            torch.full((count,), dim),
            generators,
            probability=config.channel_mask_probability,
            length=config.channel_mask_length,
            minimum=0,
        ).to(device)
        values = torch.where(times[:, :, None], self.mask_embedding.to(frames.values.dtype), frames.values)
        return Padded(values.masked_fill(channels[:, None], 0), frames.lengths)

    def _head(self, hidden: Padded) -> Padded:
        # Zeroed, because whatever stands in the padding would reach the head's gradient as 0 * inf.
        logits: Float[Tensor, "batch time labels"] = self.head(self.dropout(hidden.zeroed().values))
        return Padded(F.log_softmax(logits.float(), dim=-1), hidden.lengths)

    def _labels(self, batch: Batch) -> Padded:
        labels = batch.labels
        if labels is None:
            raise ValueError("CTC needs transcripts, but the batch has no labels: give the clips a text")
        real = labels.values[labels.mask]
        wrong = real[(real < 1) | (real >= self.config.labels)]
        if len(wrong):
            raise ValueError(
                f"label {int(wrong[0])} is not between 1 and {self.config.labels - 1} (0 is the blank): "
                f"objective.labels has to be the vocabulary's size"
            )
        return labels


def losses_and_fits(
    log_probabilities: Padded, labels: Padded
) -> tuple[Float[Tensor, " batch"], Bool[Tensor, " batch"]]:
    """Each utterance's -ln p(z | x), and whether its labels fit into its frames; it is 0 where they do
    not."""
    lengths = log_probabilities.lengths
    with torch.autocast(lengths.device.type, enabled=False):
        losses = F.ctc_loss(  # eq. 12
            log_probabilities.values.transpose(0, 1),
            labels.values,
            lengths,
            labels.lengths,
            reduction="none",
            zero_infinity=True,
        )
    return losses, frames_needed(labels) <= lengths


def frames_needed(labels: Padded) -> Tensor:
    """The fewest frames that can carry each utterance's labels: one each, and a blank between equal ones."""
    equal = labels.values[:, 1:] == labels.values[:, :-1]
    return labels.lengths + (equal & labels.mask[:, 1:]).sum(1)


def _gradients(*, on: bool) -> contextlib.AbstractContextManager[object]:
    return contextlib.nullcontext() if on else torch.no_grad()
