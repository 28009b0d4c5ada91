"""An attention decoder on an encoder, trained together with connectionist temporal classification.

Watanabe, Hori, Kim, Hershey and Hayashi, "Hybrid CTC/Attention Architecture for End-to-End Speech
Recognition", IEEE Journal of Selected Topics in Signal Processing 11(8), 2017, section III,
https://www.merl.com/publications/docs/TR2017-190.pdf. The decoder writes a label from the ones before it,

    p_att(z | x) = prod_u p(z_u | z_1 ... z_{u-1}, x)
    L            = (1 - a) (- ln p_att(z | x)) + a (- ln p_ctc(z | x))

where z ends in an end-of-sentence label and a is `ctc_weight`. CTC makes the encoder's frames follow the
speech in order, which attention alone learns slowly; both branches read the same layer.

Deviations: the decoder is a Transformer (`nn/decoder.py`) where the paper has an LSTM with location-aware
attention. The targets are smoothed (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7) by the
uniform distribution over all labels. CTC's blank and the decoder's start and end have the same number, 0,
since neither branch ever needs both. The encoder is trained as `encoders/tuning.py` has it.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.encoders.base import Encoder
from sonorant.encoders.tuning import (
    TuningConfig,
    checked_labels,
    complementary_of,
    hidden_labels,
    read,
    tuned,
    weighted_layers,
)
from sonorant.health import Sign, all_blank
from sonorant.nn.ctc import blank_share, ctc_losses, fitting
from sonorant.nn.decoder import EDGE, Decoder, DecoderConfig
from sonorant.nn.dropout import Dropout
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss, Padded


class Config(TuningConfig, ObjectiveConfig, frozen=True, kw_only=True):
    ctc_weight: Annotated[float, Meta(ge=0, lt=1)] = 0.3  # a
    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.1  # the share of the uniform distribution
    decoder: DecoderConfig = DecoderConfig()

    def build(self, encoder: Encoder) -> "Seq2Seq":
        return Seq2Seq(encoder, self)


class Seq2Seq(Objective):
    """Labels from speech, one behind the other, with teacher forcing.

    Metrics: `attention_loss` and `ctc_loss` are means over targets, without their weights a; `accuracy` is
    the share of targets that the decoder finds likeliest, given those before; the others are CTC's.
    """

    updates: Tensor

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        self.dropout = Dropout(config.dropout)
        self.layers = weighted_layers(encoder, config)
        self.head = nn.Linear(encoder.context.dim, config.labels)
        self.decoder = Decoder(config.decoder, labels=config.labels, memory_dim=encoder.context.dim)
        self.mask_embedding = nn.Parameter(torch.empty(encoder.context.dim).uniform_())
        self.complementary = complementary_of(config, encoder)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> Loss:
        """The weighted sum of both branches, and the number of the decoder's targets: labels and ends.

        `batch.weights` weigh the decoder's labels. Those of weight 0 are hidden: they are no targets, the
        labels behind them are predicted from a pad symbol in their place, and to CTC, whose paths have no
        place for a gap, they are wildcards (`nn/ctc.py`). An utterance whose labels do not fit into its
        frames adds nothing to CTC's sum.
        """
        config = self.config
        labels = checked_labels(batch, config.labels)
        memory = self._memory(batch.inputs, batch if self.training else None)
        log_probabilities = self._head(memory)
        hidden = hidden_labels(batch, labels)
        ctc = ctc_losses(log_probabilities, labels, hidden)
        errors, weights, right = self._attention(labels, memory, batch.weights, hidden)
        attention = (errors * weights).sum()
        real = weights > 0
        fits = fitting(labels, log_probabilities.lengths, hidden)
        metrics = {
            "attention_loss": attention.detach() / weights.sum(),
            "ctc_loss": ctc.detach().sum() / labels.lengths[fits].sum().clamp(min=1),
            "accuracy": right[real].float().mean(),
            "blank_share": blank_share(log_probabilities),
            "too_short": (~fits).float().mean(),
        }
        total = (1 - config.ctc_weight) * attention
        if config.ctc_weight:
            total = total + config.ctc_weight * ctc.sum()
        loss = Loss(total, real.sum(), metrics)
        return loss if self.complementary is None else self.complementary(loss, batch)

    def signs(self) -> Sequence[Sign]:
        return (all_blank(self.config.freeze_context),) if self.config.ctc_weight else ()

    def frames(self, inputs: Padded) -> Padded:
        """What a search needs of waveforms, `batch time labels+dim`: CTC's log probabilities, then what the
        decoder attends to. Nothing is masked. For inference, call `eval()` first."""
        memory = self._memory(inputs, None)
        rows = torch.cat([self._head(memory).values, memory.values.float()], -1)
        return Padded(rows, memory.lengths)

    def statistics(self) -> Sequence[Tensor]:
        return () if self.complementary is None else self.complementary.statistics()

    def after_step(self, step: int) -> None:
        self.updates.fill_(step)
        if self.complementary is not None:
            self.complementary.after_step()

    def _memory(self, inputs: Padded, masked_by: Batch | None) -> Padded:
        hidden = tuned(
            self.encoder,
            self.config,
            inputs,
            updates=self.updates,
            embedding=self.mask_embedding,
            masked_by=masked_by,
            complementary=self.complementary,
        )
        # Zeroed, because whatever stands in the padding would reach a weight's gradient as 0 * inf.
        return read(hidden, self.config, self.layers).zeroed()

    def _head(self, memory: Padded) -> Padded:
        logits: Float[Tensor, "batch time labels"] = self.head(self.dropout(memory.values))
        return Padded(F.log_softmax(logits.float(), dim=-1), memory.lengths)

    def _attention(
        self,
        labels: Padded,
        memory: Padded,
        weights: Float[Tensor, "batch labels"] | None,
        hidden: Bool[Tensor, "batch labels"] | None,
    ) -> tuple[
        Float[Tensor, "batch targets"], Float[Tensor, "batch targets"], Float[Tensor, "batch targets"]
    ]:
        """Each target's loss, its weight (0 in the padding), and whether it is the likeliest."""
        values = labels.zeroed().values
        edge = values.new_full((len(values), 1), EDGE)
        targets = Padded(torch.cat([values, edge], 1), labels.lengths + 1)
        unread = None if hidden is None else F.pad(hidden, (1, 0))
        logits = self.decoder(torch.cat([edge, values], 1), memory, unread).float().transpose(1, 2)
        errors = F.cross_entropy(
            logits, targets.values, reduction="none", label_smoothing=self.config.label_smoothing
        )
        counted = targets.mask.to(errors.dtype)
        if weights is not None:
            known = torch.where(labels.mask, weights, 1)  # the end, and padding, which counts nothing anyway
            counted = counted * F.pad(known, (0, 1), value=1)
        return errors, counted, logits.detach().argmax(1) == targets.values
