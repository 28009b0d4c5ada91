"""Stretches of a stream of audio, cut without holding more of it than one of them needs."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import soxr
from jaxtyping import Float
from numpy import ndarray

Blocks = Iterable[Float[ndarray, " _samples"]]


def even(audio: Blocks, rate: int, wanted: int, seconds: float) -> Iterator[Float[ndarray, " _samples"]]:
    """The audio at `wanted` samples a second, in blocks of so many seconds, the last one shorter."""
    size = max(1, round(seconds * wanted))
    stretches = overlapping(resampled(audio, rate, wanted), size, size)
    return (samples for samples, _ in stretches if len(samples))


def resampled(audio: Blocks, rate: int, wanted: int) -> Iterator[Float[ndarray, " _samples"]]:
    """The audio at `wanted` samples a second, soon after it comes."""
    if rate == wanted:
        yield from audio
        return
    resampler = soxr.ResampleStream(rate, wanted, 1, dtype="float32")
    for block in audio:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def overlapping(audio: Blocks, size: int, hop: int) -> Iterator[tuple[Float[ndarray, " _samples"], bool]]:
    """Stretches of `size` samples, one every `hop`, and whether it is the final one, which may be shorter."""
    pending = np.zeros(0, dtype=np.float32)
    for block in audio:
        pending = np.concatenate([pending, block])
        while len(pending) > size:
            yield pending[:size], False
            pending = pending[hop:]
    yield pending, True


def cut(audio: Blocks, bounds: Sequence[tuple[int, int]]) -> Iterator[Float[ndarray, " _samples"]]:
    """The stretches from a first sample to one behind the last, which may overlap; both only ever rise."""
    blocks, pending, offset = iter(audio), np.zeros(0, dtype=np.float32), 0
    for start, end in bounds:
        pending, offset = pending[start - offset :], start
        while len(pending) < end - start and (block := next(blocks, None)) is not None:
            pending = np.concatenate([pending, block])
        yield pending[: end - start]
