"""Stretches of a stream of audio, cut without holding more of it than one of them needs."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Blocks = Iterable[Float[ndarray, " _samples"]]


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
