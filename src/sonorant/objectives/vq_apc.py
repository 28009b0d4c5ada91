"""VQ-APC: predict the frame that comes some steps later through a codebook.

Y.-A. Chung, H. Tang, J. Glass, "Vector-Quantized Autoregressive Predictive Coding", Interspeech 2020,
https://arxiv.org/abs/2005.08392

As APC (https://arxiv.org/abs/1904.03240), but the prediction sees one of V codewords instead of the recurrent
network's output h_t. With l = W h_t + b the scores of the codewords, g Gumbel noise and tau a temperature,

    k_t = argmax_v (l_v + g_v)
    L   = sum over t = 1 .. T - n of |x_{t+n} - (A c_{k_t} + a)|

Backwards the choice counts as softmax((l + g) / tau), straight through. Without training there is no noise.
|.| is the mean over a frame's dimensions here, so that the loss of a target does not grow with its width.

Deviations: the codebook lies behind the last layer, where it belongs to what is thrown away; the paper's may
lie behind any. Codewords may be put together of several groups (`groups`); the paper has one.
If the codebook collapses, `code_perplexity` falls to the number of groups.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
from msgspec import Meta
from torch import nn

from sonorant.encoders.base import Encoder
from sonorant.encoders.checks import check_causal, check_fixed_frames
from sonorant.health import Sign, constant_prediction, few_codes
from sonorant.nn.prediction import ahead_loss
from sonorant.nn.product_quantizer import GumbelProductQuantizer
from sonorant.nn.usage import code_use
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """Settings of VQ-APC; `shift` is n, in frames; `entries` are the codewords of a group."""

    shift: Annotated[int, Meta(ge=1)] = 5
    groups: Annotated[int, Meta(ge=1)] = 1
    entries: Annotated[int, Meta(ge=2)] = 512
    temperature: Annotated[float, Meta(gt=0)] = 0.5

    def build(self, encoder: Encoder) -> "VQAPC":
        """ValueError: a context that sees the future, frames that are learned, or groups that do not fit."""
        check_causal(encoder, "vq_apc")
        check_fixed_frames(encoder, "vq_apc")
        return VQAPC(encoder, self)


class VQAPC(Objective):
    """See the head of this file."""

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.shift = config.shift
        self.quantizer = GumbelProductQuantizer(
            encoder.context.dim,
            encoder.context.dim,
            groups=config.groups,
            entries=config.entries,
            temperature=(config.temperature, 1.0, config.temperature),
        )
        # the quantiser's own start, normal weights, is for normalised frames: here the softmax would saturate
        self.quantizer.logits.reset_parameters()
        self.predict = nn.Linear(encoder.context.dim, encoder.frontend.dim)

    def forward(self, batch: Batch) -> Loss:
        frames = self.encoder.frontend(batch.inputs)
        hidden = self.encoder.context(self.encoder.project(frames)).last
        real = frames.mask[:, self.shift :]
        known = hidden.values[:, : -self.shift][real]
        noise = None
        if self.training:
            counted = zip(real.sum(1).tolist(), batch.generators(), strict=True)
            noise = torch.cat([self.quantizer.noise(count, generator) for count, generator in counted])
            noise = noise.to(known.device)
        quantized = self.quantizer(known, noise)
        loss = ahead_loss(self.predict(quantized.values), frames, shift=self.shift)
        used = {
            "prob_perplexity": quantized.prob_perplexity.detach(),
            "code_perplexity": quantized.code_perplexity,
            "code_use": code_use(
                quantized.code_perplexity / self.quantizer.groups, self.quantizer.entries, len(known)
            ),
        }
        return replace(loss, metrics={**loss.metrics, **used})

    def signs(self) -> Sequence[Sign]:
        advice = "raise objective.temperature, or lower schedule.peak, and begin again"
        codes = self.quantizer.groups * self.quantizer.entries
        return few_codes(codes, advice), constant_prediction(advice)
