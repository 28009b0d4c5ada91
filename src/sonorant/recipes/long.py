"""Features of a clip that is too long to be encoded at once, in memory for a minute of it."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sonorant.data.audio import clip_blocks
from sonorant.data.chunks import cut, overlapping
from sonorant.data.manifest import Clip
from sonorant.encoders.base import Frontend
from sonorant.evaluate.store import section_bounds
from sonorant.types import Padded

LONG = 60.0  # seconds that are encoded at once
MARGIN = 5.0  # seconds at either side of a stretch that give context, and no features
BEFORE = 2.0  # seconds before a section that it is encoded with
Encode = Callable[[Sequence[Float[Tensor, " samples"]]], dict[str, Padded]]


def long_features(
    encode: Encode, clip: Clip, frontend: Frontend, section: int | None, at_once: float
) -> dict[str, Float[Tensor, "time dim"]]:
    """A clip's layers in half precision, as a store has them: in sections, or from stretches of `at_once`
    seconds that overlap."""
    stretches = _overlapping(encode, clip, frontend, at_once)
    if section is not None:
        stretches = _sections(encode, clip, frontend, section)
    parts: dict[str, list[Tensor]] = {}
    for layers in stretches:
        for name, frames in layers.items():
            parts.setdefault(name, []).append(frames.half())
    return {name: torch.cat(parts.pop(name)) for name in list(parts)}


class Section(NamedTuple):
    """What is encoded by itself: samples from `start` to `end`, of which the last `frames` frames count."""

    start: int
    end: int
    frames: int


def sections_of(samples: int, frontend: Frontend, section: int) -> list[Section]:
    """The equal sections of a waveform, each with up to `BEFORE` seconds of what comes before it."""
    before = round(BEFORE * frontend.rate / frontend.stride)
    bounds = section_bounds(frontend.frames(samples), section)
    ends = [(end - 1) * frontend.stride + frontend.window for end in bounds[1:-1]]
    return [
        Section(max(0, first - before) * frontend.stride, end, last - first)
        for (first, last), end in zip(pairwise(bounds), [*ends, samples], strict=True)
    ]


def own(frames: Padded, sections: Sequence[Section]) -> Tensor:
    """The frames of each section, without those before it, one behind the other."""
    lengths = frames.lengths.tolist()
    return torch.cat(
        [
            row[length - each.frames : length]
            for row, length, each in zip(frames.values, lengths, sections, strict=True)
        ]
    )


def _overlapping(
    encode: Encode, clip: Clip, frontend: Frontend, at_once: float
) -> Iterator[dict[str, Tensor]]:
    stride, rate = frontend.stride, frontend.rate
    size, margin = round(at_once * rate / stride), round(MARGIN * rate / stride)  # frames
    audio, first = clip_blocks(clip, rate, at_once), 0
    for samples, final in overlapping(audio, size * stride, (size - 2 * margin) * stride):
        last = None if final else size - margin
        layers = encode([torch.from_numpy(samples)])
        yield {
            name: frames.values[0, : int(frames.lengths[0])][first:last] for name, frames in layers.items()
        }
        first = margin


def _sections(encode: Encode, clip: Clip, frontend: Frontend, section: int) -> Iterator[dict[str, Tensor]]:
    rate = frontend.rate
    samples = sum(len(block) for block in clip_blocks(clip, rate, LONG))
    sections = sections_of(samples, frontend, section)
    waves = map(torch.from_numpy, cut(clip_blocks(clip, rate, LONG), [each[:2] for each in sections]))
    together = max(1, int(LONG / (section * frontend.stride / rate + BEFORE)))
    for first in range(0, len(sections), together):
        some = sections[first : first + together]
        yield {name: own(frames, some) for name, frames in encode(list(islice(waves, len(some)))).items()}
