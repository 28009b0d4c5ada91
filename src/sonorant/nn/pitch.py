"""Another pitch at the same tempo: stretched in time by a phase vocoder, then played as much faster.

J. L. Flanagan and R. M. Golden, "Phase Vocoder", Bell System Technical Journal 1966; with magnitudes between
two frames interpolated. Formants move along with the pitch, as on another speaker's shorter vocal tract.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sonorant.nn.augment import Wave, change_speed

_WINDOW = 0.04  # seconds, at least: two periods of the lowest voices
_OVERLAP = 4  # windows over each sample


def change_pitch(wave: Wave, semitones: float, *, rate: int) -> Wave:
    """Every frequency 2 ** (semitones / 12) times as high, to the nearest percent, and as long as before."""
    percent = round(100 * 2 ** (semitones / 12))
    if percent == 100:
        return wave
    stretched = stretch(wave, math.ceil(len(wave) * percent / 100), rate=rate)
    return change_speed(stretched, percent)[: len(wave)]


def stretch(wave: Wave, samples: int, *, rate: int) -> Float[Tensor, " stretched"]:
    """The wave at another tempo, `samples` long, with its pitch as it was.

    Each bin of a frame turns on by as much as it turned between the two frames that it comes from.
    """
    size = 1 << math.ceil(_WINDOW * rate - 1).bit_length()
    step = size // _OVERLAP
    window = torch.hann_window(size, device=wave.device)
    spectrum = torch.stft(wave, size, step, window=window, pad_mode="constant", return_complex=True)
    spectrum = torch.cat([spectrum, spectrum[:, -1:]], 1)
    frames = samples // step + 1
    places = torch.arange(frames, device=wave.device, dtype=torch.float64) * len(wave) / samples
    before = places.long().clamp(max=spectrum.shape[1] - 2)
    first, second = spectrum[:, before], spectrum[:, before + 1]
    magnitudes = torch.lerp(first.abs(), second.abs(), (places - before).clamp(max=1).float())
    usual = 2 * torch.pi * step / size * torch.arange(len(spectrum), device=wave.device, dtype=torch.float64)
    turns = (second.angle() - first.angle()).double() - usual[:, None]
    turns = usual[:, None] + turns - 2 * torch.pi * (turns / (2 * torch.pi)).round()
    phases = torch.cat([spectrum[:, :1].angle().double(), turns[:, :-1]], 1).cumsum(1)
    turned = torch.polar(magnitudes, phases.remainder(2 * torch.pi).float())
    stretched: Tensor = torch.istft(turned, size, step, window=window, length=samples)
    return stretched
