"""Sizes that are possible, and what is said of those that are not."""

from typing import Annotated

import msgspec
import torch

from sonorant.config import ConfigError
from sonorant.types import Padded

Positive = Annotated[int, msgspec.Meta(ge=1)]
Probability = Annotated[float, msgspec.Meta(ge=0, lt=1)]


def check_divides(part: str, divisor: int, whole: str, size: int) -> None:
    """ConfigError unless `divisor` divides `size`; `part` and `whole` say what they are."""
    if divisor < 1 or size % divisor:
        raise ConfigError(f"{part} {divisor} must divide {whole} {size}")


def check_long_enough(waveforms: Padded, samples: int) -> None:
    """ValueError unless every waveform has the samples that one frame needs.

    An exported network cannot ask: its graph does not depend on values.
    """
    if torch.compiler.is_compiling():
        return
    shortest = int(waveforms.lengths.min())
    if shortest < samples:
        raise ValueError(
            f"a waveform of {shortest} samples is too short: one frame needs {samples}; leave it out"
        )
