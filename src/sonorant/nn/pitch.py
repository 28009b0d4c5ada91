"""Another pitch at the same tempo: the wave is stretched in time and then played as much faster.

Stretching is WSOLA: W. Verhelst and M. Roelands, "An overlap-add technique based on waveform similarity
(WSOLA) for high quality time-scale modification of speech", ICASSP 1993,
https://doi.org/10.1109/ICASSP.1993.319366.
Formants move along with the pitch, as in a vocal tract of another length.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sonorant.nn.augment import Wave, change_speed

_STEP = 0.015  # seconds from one piece to the next; a piece is two steps long
_REACH = 0.0075  # seconds that a piece is looked for around its place: a period of 67 Hz in all


def change_pitch(wave: Wave, semitones: float, *, rate: int) -> Wave:
    """Every frequency 2 ** (semitones / 12) times as high, to the nearest percent, and as long as before."""
    percent = round(100 * 2 ** (semitones / 12))
    if percent == 100:
        return wave
    stretched = stretch(wave, math.ceil(len(wave) * percent / 100), rate=rate)
    return change_speed(stretched, percent)[: len(wave)]


def stretch(wave: Wave, samples: int, *, rate: int) -> Float[Tensor, " stretched"]:
    """The wave at another tempo, `samples` long, with its pitch as it was.

    Pieces of it are laid over one another by half. Each comes from near the place that the tempo gives it:
    from where it is most like what followed the piece before it.
    """
    step, reach = round(_STEP * rate), round(_REACH * rate)
    tempo = len(wave) / samples
    before = math.ceil(step * tempo) + reach
    padded = F.pad(wave, (before, math.ceil(step * tempo) + 4 * step + 2 * reach))
    place = before - round(step * tempo)
    pieces = [padded[place : place + 2 * step]]
    for number in range(math.ceil(samples / step)):
        follows = padded[place + step : place + 3 * step]
        first = before - reach + round(number * step * tempo)
        candidates = padded[first : first + 2 * (step + reach)].unfold(0, 2 * step, 1)
        place = first + _most_alike(candidates, follows)
        pieces.append(padded[place : place + 2 * step])
    window = torch.hann_window(2 * step, device=wave.device, dtype=wave.dtype)
    halves = (torch.stack(pieces) * window).unflatten(1, (2, step))
    laid: Tensor = halves[1:, 0] + halves[:-1, 1]
    return laid.flatten()[:samples]


def _most_alike(candidates: Float[Tensor, "places samples"], model: Float[Tensor, " samples"]) -> int:
    """The candidate with the largest cosine."""
    with torch.autocast(model.device.type, enabled=False):
        products = candidates @ model
    return int((products / candidates.square().sum(1).sqrt().clamp(min=1e-6)).argmax())
