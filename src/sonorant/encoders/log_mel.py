"""The log-mel front end."""

from typing import Literal

from sonorant.config import Config, ConfigError
from sonorant.encoders.base import Frontend
from sonorant.encoders.sizes import Positive, check_long_enough
from sonorant.nn.features import log_mel
from sonorant.nn.normalize import standardize
from sonorant.types import Padded

WINDOW, HOP = 0.025, 0.010  # seconds


class LogMelConfig(Config, frozen=True, kw_only=True, tag_field="name", tag="log_mel"):
    """`low` and `high` are Hz (None: half the rate); `stack` consecutive frames become one."""

    rate: Positive = 16000
    mels: Positive = 80
    low: float = 20.0
    high: float | None = None
    stack: Positive = 1
    normalize: Literal["utterance", "none"] = "utterance"

    def __post_init__(self) -> None:
        high = self.rate / 2 if self.high is None else self.high
        if not 0 <= self.low < high <= self.rate / 2:
            raise ConfigError(
                f"low {self.low} Hz and high {high} Hz must satisfy 0 <= low < high <= {self.rate / 2} Hz"
            )


class LogMel(Frontend):
    """Kaldi's log-mel energies, 25 ms windows every 10 ms, each band standardised over the utterance.

    It has no parameters. With `stack` k a frame is k consecutive ones side by side and the stride is 10k ms;
    what is left over at the end of an utterance is dropped.
    """

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__()
        self.config = config
        self.rate = config.rate
        self.dim = config.mels * config.stack
        self.stride = round(HOP * config.rate) * config.stack

    def forward(self, inputs: Padded) -> Padded:
        config = self.config
        check_long_enough(inputs, round(WINDOW * self.rate) + round(HOP * self.rate) * (config.stack - 1))
        energies = log_mel(
            inputs,
            rate=config.rate,
            mels=config.mels,
            low=config.low,
            high=config.high,
            window=WINDOW,
            hop=HOP,
        )
        if config.normalize == "utterance":
            energies = standardize(energies)
        return _stack(energies, config.stack)

    def frames(self, samples: int) -> int:
        window, hop = round(WINDOW * self.rate), round(HOP * self.rate)
        return max(0, (samples - window) // hop + 1) // self.config.stack


def _stack(frames: Padded, size: int) -> Padded:
    if size == 1:
        return frames
    time = frames.values.shape[1] // size
    groups = frames.values[:, : time * size].unflatten(1, (time, size)).flatten(2)
    return Padded(groups, frames.lengths // size).zeroed()
