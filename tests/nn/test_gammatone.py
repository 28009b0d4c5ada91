"""Guards the gammatone bank: its filters' responses, their places and what they hear."""

import math

import torch

from sonorant.nn.gammatone import centres, critical_band, log_gammatone, responses
from sonorant.types import pad

RATE, BANDS = 16000, 40


def test_responses_are_those_of_the_impulse_responses():
    """t^3 exp(-2 pi b t) cos(2 pi f t), transformed: in the middle of the scale, where the mirror image of
    the band at negative frequencies is far away."""
    size = 16384
    times = torch.arange(size, dtype=torch.float64) / RATE
    weights = responses(RATE, size, BANDS)
    for band in (15, 20, 30):
        middle = centres(RATE, BANDS)[band]
        width = 1.019 * 24.7 * (4.37 * middle / 1000 + 1)
        impulse = times**3 * (-2 * math.pi * width * times).exp() * (2 * math.pi * middle * times).cos()
        energies = torch.fft.rfft(impulse).abs().square()
        torch.testing.assert_close((energies / energies.max()).float(), weights[:, band], rtol=0, atol=0.01)


def test_bands_lie_as_far_apart_as_critical_bands_are_wide():
    middles = centres(RATE, BANDS)
    assert abs(middles[0] - 50) < 1e-6
    assert middles[-1] < RATE / 2
    steps = middles.diff() / critical_band((middles[1:] + middles[:-1]) / 2)
    torch.testing.assert_close(steps, steps.mean().expand(BANDS - 1), rtol=0.01, atol=0)


def test_a_tone_is_loudest_in_its_band_and_as_loud_as_it_is():
    times = torch.arange(RATE // 2) / RATE
    middles = centres(RATE, BANDS)
    for band in (12, 25, 35):
        tone = (2 * math.pi * middles[band] * times).sin().float()
        found = log_gammatone(pad([tone, tone / 2]), rate=RATE, bands=BANDS, window=400, hop=160)
        assert (found.values[0].argmax(-1) == band).all()
        louder = found.values[0, :, band] - found.values[1, :, band]
        torch.testing.assert_close(louder, torch.full_like(louder, 2 * math.log(2)))
