"""NPC: predict each frame from those around it, without looking at it.

A. H. Liu, Y.-A. Chung, J. Glass, "Non-Autoregressive Predictive Coding for Learning Speech Representations
from Local Dependencies", Interspeech 2021, https://arxiv.org/abs/2011.00406

With x_t the frames of an utterance of T frames and h_t what masked convolutions make of those around x_t, the
nearest left out (`encoders/masked_convolutions.py`), quantised to q_t as in VQ-APC,

    L = sum over t = 1 .. T of |x_t - (A q_t + a)|

|.| is the mean over a frame's dimensions here, so that the loss of a target does not grow with its width.

Deviations: each group of the codebook scores its codewords from all of h_t, where the authors' code gives
each a slice; layer normalisation in the context network, where the paper has batch normalisation; frames are
projected to the network's width first, so that its first block has a shortcut as well.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from msgspec import Meta
from torch import nn

from sonorant.encoders.base import Encoder
from sonorant.encoders.checks import check_fixed_frames
from sonorant.encoders.masked_convolutions import MaskedConvolutions
from sonorant.health import Sign, constant_prediction, few_codes
from sonorant.nn.prediction import prediction_spread
from sonorant.nn.product_quantizer import GumbelProductQuantizer
from sonorant.nn.usage import code_use
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """The published numbers; `entries` are the codewords of a group."""

    groups: Annotated[int, Meta(ge=1)] = 4
    entries: Annotated[int, Meta(ge=2)] = 64
    temperature: Annotated[float, Meta(gt=0)] = 1.0

    def build(self, encoder: Encoder) -> "NPC":
        """ValueError: a context that sees what it should predict, learned frames, or groups that do not
        fit."""
        if not isinstance(encoder.context, MaskedConvolutions):
            raise ValueError(  # noqa: TRY004 (a setting that does not fit, not a mistake of the caller's)
                "npc: predicts the frame, which encoder.context sees already: choose masked_convolutions"
            )
        check_fixed_frames(encoder, "npc")
        return NPC(encoder, self)


class NPC(Objective):
    """See the head of this file."""

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.quantizer = GumbelProductQuantizer(
            encoder.context.dim,
            encoder.context.dim,
            groups=config.groups,
            entries=config.entries,
            temperature=(config.temperature, 1.0, config.temperature),
        )
        self.quantizer.logits.reset_parameters()  # as in VQ-APC
        self.predict = nn.Linear(encoder.context.dim, encoder.frontend.dim)

    def forward(self, batch: Batch) -> Loss:
        frames = self.encoder.frontend(batch.inputs)
        hidden = self.encoder.context(self.encoder.project(frames)).last
        real = frames.mask
        noise = None
        if self.training:
            counted = zip(frames.lengths.tolist(), batch.generators(), strict=True)
            noise = torch.cat([self.quantizer.noise(count, generator) for count, generator in counted])
            noise = noise.to(hidden.values.device)
        quantized = self.quantizer(hidden.values[real], noise)
        targets = frames.values[real]
        predicted = self.predict(quantized.values)
        error = (targets - predicted).abs().mean(-1).sum()
        zeros, count = targets.abs().mean(-1).sum(), real.sum()
        metrics = {
            "error": error.detach() / count.clamp(min=1),
            "relative_error": error.detach() / zeros.clamp(min=1e-12),  # below 1: better than zeros
            "prediction_spread": prediction_spread(predicted, targets),
            "prob_perplexity": quantized.prob_perplexity.detach(),
            "code_perplexity": quantized.code_perplexity,
            "code_use": code_use(
                quantized.code_perplexity / self.quantizer.groups, self.quantizer.entries, len(targets)
            ),
        }
        return Loss(error, count, metrics)

    def signs(self) -> Sequence[Sign]:
        advice = "raise objective.temperature, or lower schedule.peak, and begin again"
        codes = self.quantizer.groups * self.quantizer.entries
        return few_codes(codes, advice), constant_prediction(advice)
