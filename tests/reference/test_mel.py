"""Guards one log-mel frame against Kaldi's definition written out as loops in double precision."""

import cmath
import math

import pytest
import torch

from sonorant.nn.features import FLOOR, log_mel
from sonorant.types import pad


def mel(hertz):
    return 1127 * math.log(1 + hertz / 700)


def spectrum(samples):
    """Energies of a windowed frame, at multiples of the rate over the padded length."""
    mean = sum(samples) / len(samples)
    centred = [sample - mean for sample in samples]
    emphasised = [now - 0.97 * before for before, now in zip(centred[:1] + centred, centred, strict=False)]
    span = len(samples) - 1
    window = [(0.5 - 0.5 * math.cos(2 * math.pi * i / span)) ** 0.85 for i in range(len(samples))]
    size = 1
    while size < len(samples):
        size *= 2
    energies = []
    for k in range(size // 2 + 1):
        total = sum(
            weight * sample * cmath.exp(-2j * math.pi * k * i / size)
            for i, (weight, sample) in enumerate(zip(window, emphasised, strict=True))
        )
        energies.append(abs(total) ** 2)
    return energies, size


def bands(energies, size, rate, count, low, high):
    step = (mel(high) - mel(low)) / (count + 1)
    values = []
    for band in range(count):
        left, centre, right = (mel(low) + (band + i) * step for i in range(3))
        total = 0.0
        for k, energy in enumerate(energies):
            place = mel(k * rate / size)
            if left < place <= centre:
                total += energy * (place - left) / (centre - left)
            elif centre < place < right:
                total += energy * (right - place) / (right - centre)
        values.append(math.log(max(total, FLOOR)))
    return values


@pytest.mark.parametrize(("rate", "mels", "high"), [(16000, 80, None), (8000, 30, 3800.0)])
def test_a_frame_is_what_the_loops_say(rate, mels, high):
    generator = torch.Generator().manual_seed(0)
    waveform = torch.randn(rate // 20, generator=generator) / 10 + 0.2
    found = log_mel(pad([waveform]), rate=rate, mels=mels, high=high).values[0]
    start, length = 2 * rate // 100, rate // 40
    energies, size = spectrum((2**15 * waveform[start : start + length]).tolist())
    expected = bands(energies, size, rate, mels, 20.0, high or rate / 2)
    torch.testing.assert_close(found[2], torch.tensor(expected), rtol=1e-4, atol=1e-4)
