"""APC: predict the frame that comes some steps later from all that came before.

Y.-A. Chung, W.-N. Hsu, H. Tang, J. Glass, "An Unsupervised Autoregressive Model for Speech Representation
Learning", Interspeech 2019, https://arxiv.org/abs/1904.03240

With x_t the frames of an utterance of T frames and y_t the prediction made from x_1 .. x_t, n steps ahead,

    L = sum over t = 1 .. T - n of |x_{t+n} - y_t|

|.| is the mean over a frame's dimensions here, so that the loss of a target does not grow with its width.
"""

from typing import Annotated

from msgspec import Meta
from torch import nn

from sonorant.encoders.base import Encoder
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """Settings of APC; `shift` is n, in frames."""

    shift: Annotated[int, Meta(ge=1)] = 5

    def build(self, encoder: Encoder) -> "APC":
        """ValueError: a context that sees the future, or frames that are learned."""
        if not encoder.context.causal:
            raise ValueError(
                "apc: predicts the future, which encoder.context sees already: choose a causal one"
            )
        if any(True for _ in encoder.frontend.parameters()):
            raise ValueError(
                "apc: predicts the front end's frames, and a front end that learns would make them "
                "easy: choose log_mel for encoder.frontend"
            )
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
        real = frames.mask[:, self.shift :]
        targets = frames.values[:, self.shift :][real]
        predicted = self.predict(hidden.values[:, : -self.shift][real])
        error = (targets - predicted).abs().mean(-1).sum()
        copied = (targets - frames.values[:, : -self.shift][real]).abs().mean(-1).sum()
        count = real.sum()
        metrics = {
            "error": error.detach() / count.clamp(min=1),
            "error_of_copying": copied / count.clamp(min=1),
            "relative_error": error.detach() / copied.clamp(min=1e-12),  # below 1: better than repeating x_t
        }
        return Loss(error, count, metrics)
