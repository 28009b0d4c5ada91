"""How something is said: pitch, voicing, loudness and zero crossings."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sonorant.nn.features import frame_counts
from sonorant.nn.spectrum import FLOOR
from sonorant.nn.yin import HIGH, LOW, frame_samples, fundamental
from sonorant.types import Padded

_MIDDLE = (LOW * HIGH) ** 0.5  # Hz, of an utterance without a voice


def pitch(waveforms: Padded, *, rate: int, hop: int) -> tuple[Float[Tensor, "batch time"], Tensor]:
    """The logarithm of F0 in Hz, and 1 where there is a voice: of windows of `yin.frame_samples`, `hop`
    apart. Without a voice log F0 is a straight line between its neighbours with one, level at the ends."""
    window = frame_samples(rate)
    frequency, voiced = fundamental(waveforms.values.unfold(1, window, hop), rate=rate)
    counts = frame_counts(waveforms.lengths, window, hop)
    voiced = voiced & Padded(voiced, counts).mask
    return interpolate(frequency.log(), voiced), voiced.float()


def energy(waveforms: Padded, *, window: int, hop: int) -> Float[Tensor, "batch time"]:
    """The logarithm of a window's mean square."""
    logarithm: Tensor = waveforms.values.unfold(1, window, hop).square().mean(-1).clamp(min=FLOOR).log()
    return logarithm


def zero_crossings(waveforms: Padded, *, window: int, hop: int) -> Float[Tensor, "batch time"]:
    """The share of a window's neighbouring samples that have different signs."""
    signs = waveforms.values >= 0
    crossings = (signs[:, 1:] != signs[:, :-1]).float()
    return crossings.unfold(1, window - 1, hop).mean(-1)


def interpolate(
    values: Float[Tensor, "batch time"], known: Bool[Tensor, "batch time"]
) -> Float[Tensor, "batch time"]:
    """Straight lines between the known values, level beyond the first and last one. Where none is known, that
    of 134 Hz."""
    time = values.shape[1]
    steps = torch.arange(time, device=values.device).expand_as(values)
    before = steps.where(known, -1).cummax(1).values
    behind = steps.where(known, time).flip(1).cummin(1).values.flip(1)
    nothing = before[:, -1:] < 0
    first = before.where(before >= 0, behind).clamp(max=time - 1)
    last = behind.where(behind < time, before).clamp(min=0)
    share = (steps - first) / (last - first).clamp(min=1)
    lines = torch.lerp(values.gather(1, first), values.gather(1, last), share)
    return lines.masked_fill(nothing, torch.tensor(_MIDDLE).log().item())
