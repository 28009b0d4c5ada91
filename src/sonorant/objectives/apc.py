"""APC: predict the frame that comes some steps later from all that came before.

Y.-A. Chung, W.-N. Hsu, H. Tang, J. Glass, "An Unsupervised Autoregressive Model for Speech Representation
Learning", Interspeech 2019, https://arxiv.org/abs/1904.03240

With x_t the frames of an utterance of T frames and y_t the prediction made from x_1 .. x_t, n steps ahead,

    L = sum over t = 1 .. T - n of |x_{t+n} - y_t|

|.| is the mean over a frame's dimensions here, so that the loss of a target does not grow with its width.
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta
from torch import nn

from sonorant.encoders.base import Encoder
from sonorant.encoders.checks import check_causal, check_fixed_frames
from sonorant.health import Sign, constant_prediction
from sonorant.nn.prediction import ahead_loss
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """Settings of APC; `shift` is n, in frames."""

    shift: Annotated[int, Meta(ge=1)] = 5

    def build(self, encoder: Encoder) -> "APC":
        """ValueError: a context that sees the future, or frames that are learned."""
        check_causal(encoder, "apc")
        check_fixed_frames(encoder, "apc")
        return APC(encoder, self)


class APC(Objective):
    """See the head of this file."""

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.shift = config.shift
        self.predict = nn.Linear(encoder.context.dim, encoder.frontend.dim)

    def forward(self, batch: Batch) -> Loss:
        frames = self.encoder.frontend(batch.inputs)
        hidden = self.encoder.context(self.encoder.project(frames)).last
        known = hidden.values[:, : -self.shift][frames.mask[:, self.shift :]]
        return ahead_loss(self.predict(known), frames, shift=self.shift)

    def signs(self) -> Sequence[Sign]:
        return (constant_prediction("lower schedule.peak or objective.shift and begin again"),)
