"""Which frames an objective hides: spans, drawn for each utterance from its own generator and length."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Generator, Tensor


def span_mask(
    lengths: Int[Tensor, " batch"],
    generators: Sequence[Generator],
    *,
    probability: float,
    length: int,
    minimum: int = 1,
    time: int | None = None,
) -> Bool[Tensor, "batch time"]:
    """wav2vec 2.0's spans: `probability * frames / length` of them, rounded at random, at different starts.

    Spans may overlap, so that less than `probability` of the frames is hidden: 0.65 and 10 hide 49 %. An
    utterance gets at least `minimum` spans. One that is too short to hold them has them start anywhere and
    cuts them at its end. `length` is in frames; `time` is the width of the result, by default the longest
    utterance's frames.
    """
    frames = lengths.tolist()
    starts = torch.zeros(len(frames), max(frames) if time is None else time, dtype=torch.bool)
    for row, count, generator in zip(starts, frames, generators, strict=True):
        chance = torch.rand((), generator=generator, dtype=torch.float64).item()
        spans = min(max(int(probability * count / length + chance), minimum), count)
        places = count - length + 1
        if places <= spans:
            places = count
        row[torch.randperm(places, generator=generator)[:spans]] = True
    return _spread(starts.to(lengths.device), length, lengths)


def bernoulli_span_mask(
    lengths: Int[Tensor, " batch"],
    generators: Sequence[Generator],
    *,
    start_probability: float,
    length: int,
    minimum: int = 1,
    time: int | None = None,
) -> Bool[Tensor, "batch time"]:
    """BEST-RQ's spans: every frame starts one with `start_probability`, wherever others lie.

    An utterance that drew fewer than `minimum` starts takes the frames that came closest to being one. Spans
    are cut at the utterance's end. `length` is in frames; `time` is the width of the result, by default the
    longest utterance's frames.
    """
    frames = lengths.tolist()
    draws = torch.ones(len(frames), max(frames) if time is None else time)
    for row, count, generator in zip(draws, frames, generators, strict=True):
        row[:count] = torch.rand(count, generator=generator)
    closest = draws.topk(min(minimum, draws.shape[1]), largest=False).indices
    starts = (draws < start_probability).scatter(1, closest, True)
    return _spread(starts.to(lengths.device), length, lengths)


def _spread(
    starts: Bool[Tensor, "batch time"], length: int, lengths: Int[Tensor, " batch"]
) -> Bool[Tensor, "batch time"]:
    """True on the `length` frames from each start on, up to the utterance's end."""
    begun = starts.cumsum(1)
    ended = F.pad(begun, (length, 0))[:, : starts.shape[1]]
    steps = torch.arange(starts.shape[1], device=lengths.device)
    return (begun > ended) & (steps < lengths[:, None])
