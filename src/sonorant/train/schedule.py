"""The learning rate of every step, as a function of the step alone."""

import math
from typing import Literal

from sonorant.config import Config

Decay = Literal["linear", "cosine", "tri_stage", "constant"]


class ScheduleConfig(Config, frozen=True, kw_only=True):
    """Up to the peak in a straight line, along it for a while, then down along a curve.

    `tri_stage` is wav2vec 2.0's: 10 % of the steps up, 40 % held, the rest an exponential down to 5 % of the
    peak (Baevski et al. 2020, https://arxiv.org/abs/2006.11477, appendix B).
    """

    peak: float = 5e-4
    warmup: float = 0.1  # below 1 a share of all steps, from 1 on a number of steps
    hold: float | None = None  # a share of all steps; 0.4 for tri_stage, 0 for the others unless given
    decay: Decay = "linear"
    final: float | None = (
        None  # the last rate over the peak; 0.05 for tri_stage, 0 for the others unless given
    )

    def __post_init__(self) -> None:
        if not 0 < self.peak < math.inf:
            raise ValueError(f"peak is {self.peak}; a learning rate above 0 is needed")
        if self.warmup < 0 or (self.warmup >= 1 and self.warmup != int(self.warmup)):
            raise ValueError(f"warmup is {self.warmup}; give a share below 1 or a whole number of steps")
        if not 0 <= _hold(self) <= 1 - (self.warmup if self.warmup < 1 else 0):
            raise ValueError(f"hold is {self.hold}; with the warm-up it may not pass the whole of training")
        if not 0 <= _final(self) <= 1 or (self.decay == "tri_stage" and _final(self) == 0):
            raise ValueError(f"final is {self.final}; it is a share of the peak, above 0 for tri_stage")


def learning_rate(step: int, total: int, config: ScheduleConfig) -> float:
    """The learning rate of update number `step`, from 1 to `total`. The peak is that of the warm-up's last
    step, the final rate that of step `total`."""
    warmup = _warmup(config, total)
    if step <= warmup:
        return config.peak * step / warmup
    down = min(warmup + round(_hold(config) * total), total)
    if step <= down:
        return config.peak
    progress = min((step - down) / max(total - down, 1), 1.0)
    return config.peak * _scale(progress, config)


def steps_for(minutes: float, seconds_per_step: float) -> int:
    """How many steps fit into so many minutes, at least one."""
    return max(1, int(minutes * 60 / seconds_per_step))


def _warmup(config: ScheduleConfig, total: int) -> int:
    if config.warmup >= 1 or config.warmup == 0:
        return int(config.warmup)
    return max(1, round(config.warmup * total))


def _hold(config: ScheduleConfig) -> float:
    if config.hold is not None:
        return config.hold
    return 0.4 if config.decay == "tri_stage" else 0.0


def _final(config: ScheduleConfig) -> float:
    if config.final is not None:
        return config.final
    return 0.05 if config.decay == "tri_stage" else 0.0


def _scale(progress: float, config: ScheduleConfig) -> float:
    """The rate over the peak at so much of the way down, from 0 to 1."""
    final = _final(config)
    match config.decay:
        case "linear":
            return 1 - (1 - final) * progress
        case "cosine":
            return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2
        case "tri_stage":
            return math.exp(math.log(final) * progress)
        case "constant":
            return 1.0
