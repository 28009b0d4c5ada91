"""Mockingjay: restore frames that are hidden, from both sides.

A. T. Liu, S.-W. Yang, P.-H. Chi, P.-C. Hsu, H.-Y. Lee, "Mockingjay: Unsupervised Speech Representation
Learning with Deep Bidirectional Transformer Encoders", ICASSP 2020, https://arxiv.org/abs/1910.12638

With x_t the frames of an utterance, M 15 % of them in spans of C consecutive frames, x' the utterance with
the frames of M altered, and y_t what two layers predict from the context's output at t,

    L = sum over t in M of |x_t - y_t|

|.| is the mean over a frame's dimensions here, so that the loss of a target does not grow with its width.
Altered means: in 80 % of the utterances all of M are zeroed, in 10 % all are replaced by other frames of the
utterance, in 10 % none is touched. That the throw is for the utterance, not for a span or a frame, and that
spans may overlap is taken from the authors' code (s3prl).

Deviations: the number of spans is rounded at random and at least one, where the authors round to the nearest
and leave out utterances without any; spans may reach an utterance's last frame; the other frames come from
one distance in all spans of an utterance, not from a place of its own for each (`nn/alteration.py`). The
target is the input's own frames; the LARGE model's linear spectrogram is not offered. Its downsampling is
the front end's `stack`, with `mask_length: 1`. Positions are those of the context network, not sinusoids.
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from sonorant.encoders.base import Encoder
from sonorant.encoders.checks import check_fixed_frames
from sonorant.health import Sign, constant_prediction
from sonorant.nn.alteration import alter_time
from sonorant.nn.prediction import ReconstructionHead, prediction_spread
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss, Padded


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """The BASE model's numbers; `mask_length` is C, in frames (of 10 ms there)."""

    mask_probability: Annotated[float, Meta(gt=0, le=1)] = 0.15  # spans may overlap, so that less is hidden
    mask_length: Annotated[int, Meta(ge=1)] = 7

    def build(self, encoder: Encoder) -> "Mockingjay":
        """ValueError: the frames are learned."""
        check_fixed_frames(encoder, "mockingjay")
        return Mockingjay(encoder, self)


class Mockingjay(Objective):
    """See the head of this file."""

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        self.predict = ReconstructionHead(encoder.context.dim, encoder.frontend.dim)

    def forward(self, batch: Batch) -> Loss:
        frames = self.encoder.frontend(batch.inputs)
        altered = alter_time(
            frames,
            batch.generators(),
            share=self.config.mask_probability,
            length=self.config.mask_length,
        )
        hidden = self.encoder.context(self.encoder.project(Padded(altered.values, frames.lengths))).last
        targets = frames.values[altered.chosen]
        predicted = self.predict(hidden.values[altered.chosen])
        error = (targets - predicted).abs().mean(-1).sum()
        zeros = targets.abs().mean(-1).sum()
        count = altered.chosen.sum()
        metrics = {
            "error": error.detach() / count.clamp(min=1),
            "relative_error": error.detach() / zeros.clamp(min=1e-12),  # below 1: better than zeros
            "prediction_spread": prediction_spread(predicted, targets),
            "masked": count / frames.lengths.sum().clamp(min=1),
        }
        return Loss(error, count, metrics)

    def signs(self) -> Sequence[Sign]:
        return (constant_prediction("lower schedule.peak, or hide less, and begin again"),)
