"""Frames that are made worse, for an encoder that learns to restore them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from sonorant.nn.masking import span_mask
from sonorant.types import Padded

ZEROED, MOVED = 0.8, 0.1  # shares of the utterances; the rest keep their hidden frames


@dataclass(frozen=True)
class Altered:
    """Altered frames, zeros in the padding, and which of them were chosen: those to be restored."""

    values: Float[Tensor, "batch time dim"]
    chosen: Bool[Tensor, "batch time"]


def alter_time(frames: Padded, generators: Sequence[Generator], *, share: float, length: int) -> Altered:
    """Mockingjay's and TERA's alteration along time, each utterance's from its own generator.

    Liu et al. 2020, https://arxiv.org/abs/1910.12638. Spans of `length` frames are chosen, at
    least one and `share * frames / length` on average; they may overlap. One throw for the utterance decides
    on all of them: 80 in 100 are zeroed, 10 replaced by frames from elsewhere in the utterance, 10 left as
    they are. Those from elsewhere are the frames a random number of steps before, the utterance's end
    standing before its start: consecutive ones stay consecutive.
    """
    values, device = frames.values, frames.values.device
    chosen = span_mask(
        frames.lengths.cpu(), generators, probability=share, length=length, time=values.shape[1]
    ).to(device)
    altered = values.masked_fill(chosen[..., None], 0)
    for row, (steps, generator) in enumerate(zip(frames.lengths.tolist(), generators, strict=True)):
        throw = torch.rand((), generator=generator, dtype=torch.float64).item()
        if throw < ZEROED:
            continue
        kept = values[row, :steps]
        if throw < ZEROED + MOVED:
            shift = int(torch.randint(1, max(steps, 2), (), generator=generator))
            altered[row, :steps] = torch.where(chosen[row, :steps, None], kept.roll(shift, 0), kept)
        else:
            altered[row, :steps] = kept
    return Altered(altered, chosen)
