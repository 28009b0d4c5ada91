"""TERA: restore frames that are altered along time, frequency and magnitude.

A. T. Liu, S.-W. Li, H.-Y. Lee, "TERA: Self-Supervised Learning of Transformer Encoder Representation for
Speech", IEEE/ACM TASLP 29, 2021, https://arxiv.org/abs/2007.06028

With x the frames of an utterance, x' the altered ones, S the values chosen for restoring and y what two
layers predict from the context's output for x',

    L = sum over (t, d) in S of |x_td - y_td|

- Time: spans of consecutive frames, 15 % of all; in 80 % of the utterances all are zeroed, in 10 % replaced
  by other frames of the utterance, in 10 % left as they are. All values of these frames are in S.
- Frequency: one band of neighbouring mel channels, of 0 to 20 % of them, all widths and then all places
  equally likely, is zeroed throughout the utterance. Its values are in S.
- Magnitude: in 15 % of the utterances normal noise is added to all values. By itself it chooses nothing: S
  has all values if there is neither of the others.

Each is switched off by a 0. The order, S, and that 0.2 is the noise's deviation are those of the authors'
code (s3prl). Deviations: as in Mockingjay, the number of spans is rounded at random and at least one, spans
and bands may reach the edge, and the other frames come from one distance in all spans of an utterance; noise
is thrown for each utterance, where the code throws once for a batch; with `stack` a band is the same in all
stacked frames. Positions are those of the context network, not sinusoids.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from msgspec import Meta
from torch import Generator, Tensor

from sonorant.encoders.base import Encoder
from sonorant.encoders.log_mel import LogMel
from sonorant.health import Sign, constant_prediction
from sonorant.nn.alteration import alter_time
from sonorant.nn.prediction import ReconstructionHead, prediction_spread
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss, Padded

Share = Annotated[float, Meta(ge=0, le=1)]


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """The published numbers: shares of the frames, of the mel channels (at most) and of the utterances."""

    time: Share = 0.15  # spans may overlap, so that less is chosen
    time_length: Annotated[int, Meta(ge=1)] = 7  # frames of a span (of 10 ms in the paper)
    frequency: Share = 0.2
    magnitude: Share = 0.15
    noise: Annotated[float, Meta(gt=0)] = 0.2  # standard deviation

    def build(self, encoder: Encoder) -> "TERA":
        """ValueError: nothing is altered, or the frames have no mel channels."""
        if not (self.time or self.frequency or self.magnitude):
            raise ValueError("tera: time, frequency and magnitude are all 0: alter at least one of them")
        if isinstance(encoder.frontend, LogMel):
            return TERA(encoder, encoder.frontend.config.mels, self)
        raise ValueError("tera: alters and restores mel channels: choose log_mel for encoder.frontend")


class TERA(Objective):
    """See the head of this file."""

    def __init__(self, encoder: Encoder, mels: int, config: Config) -> None:
        super().__init__(encoder)
        self.mels = mels
        self.config = config
        self.predict = ReconstructionHead(encoder.context.dim, encoder.frontend.dim)

    def forward(self, batch: Batch) -> Loss:
        frames = self.encoder.frontend(batch.inputs)
        altered, chosen = self.alter(frames, batch.generators())
        hidden = self.encoder.context(self.encoder.project(Padded(altered, frames.lengths))).last
        rows = chosen.any(-1)
        targets = frames.values[chosen]
        restored = self.predict(hidden.values[rows])
        predicted = restored[chosen[rows]]
        error, zeros, count = (targets - predicted).abs().sum(), targets.abs().sum(), chosen.sum()
        metrics = {
            "error": error.detach() / count.clamp(min=1),
            "relative_error": error.detach() / zeros.clamp(min=1e-12),  # below 1: better than zeros
            "prediction_spread": prediction_spread(restored, frames.values[rows]),
            "chosen": count / (frames.lengths.sum() * chosen.shape[2]).clamp(min=1),
        }
        return Loss(error, count, metrics)

    def signs(self) -> Sequence[Sign]:
        return (constant_prediction("lower schedule.peak, or hide less, and begin again"),)

    def alter(
        self, frames: Padded, generators: Sequence[Generator]
    ) -> tuple[Float[Tensor, "batch time dim"], Bool[Tensor, "batch time dim"]]:
        """The altered frames and which of their values are to be restored."""
        config, values, real = self.config, frames.values, frames.mask[..., None]
        if not config.time and not config.frequency:
            chosen = real.expand_as(values)
        else:
            chosen = torch.zeros_like(values, dtype=torch.bool)
        if config.time:
            along_time = alter_time(frames, generators, share=config.time, length=config.time_length)
            values, chosen = along_time.values, chosen | along_time.chosen[..., None]
        if config.frequency:
            band = self._bands(generators).to(values.device)[:, None] & real
            values, chosen = values.masked_fill(band, 0), chosen | band
        if config.magnitude:
            values = values + self._noise(frames, generators)
        return values, chosen

    def _bands(self, generators: Sequence[Generator]) -> Bool[Tensor, "batch dim"]:
        """True on a band of mel channels of each utterance, in all its stacked frames."""
        bands = torch.zeros(len(generators), self.mels, dtype=torch.bool)
        widest = int(self.config.frequency * self.mels)
        for band, generator in zip(bands, generators, strict=True):
            width = int(torch.randint(widest + 1, (), generator=generator))
            start = int(torch.randint(self.mels - width + 1, (), generator=generator))
            band[start : start + width] = True
        return bands.repeat(1, self.encoder.frontend.dim // self.mels)

    def _noise(self, frames: Padded, generators: Sequence[Generator]) -> Float[Tensor, "batch time dim"]:
        """Noise on the real frames of the utterances that get any, zeros elsewhere."""
        noise = torch.zeros(frames.values.shape)
        for row, steps, generator in zip(noise, frames.lengths.tolist(), generators, strict=True):
            if torch.rand((), generator=generator, dtype=torch.float64).item() < self.config.magnitude:
                row[:steps] = torch.randn(steps, row.shape[1], generator=generator) * self.config.noise
        return noise.to(frames.values)
