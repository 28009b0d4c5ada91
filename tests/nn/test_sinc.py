"""Guards SincNet's filters: their closed form, what they let through, and the fast convolution."""

import math

import pytest
import torch
from torch.nn import functional as F

from sonorant.nn.sinc import SincFilters, band_pass, convolve

TAPS, RATE = 251, 16000


def sinc(x):
    return math.sin(x) / x if x else 1.0


def test_a_filter_is_the_difference_of_two_windowed_low_passes():
    found = band_pass(torch.tensor([0.0, 300.0]), torch.tensor([500.0, 4000.0]), taps=TAPS, rate=RATE)
    for (low, high), response in zip([(0, 500), (300, 4000)], found, strict=True):
        f1, f2, half = low / RATE, high / RATE, (TAPS - 1) / 2
        expected = [
            (2 * f2 * sinc(2 * math.pi * f2 * n) - 2 * f1 * sinc(2 * math.pi * f1 * n))
            * (0.54 - 0.46 * math.cos(2 * math.pi * (n / TAPS + 0.5)))
            for n in (place - half for place in range(TAPS))
        ]
        torch.testing.assert_close(response, torch.tensor(expected), rtol=1e-4, atol=1e-6)


def test_filters_start_side_by_side_on_the_mel_scale_and_let_their_band_through():
    filters = SincFilters(32, taps=TAPS, rate=RATE)
    low, high = filters.bands()
    torch.testing.assert_close(low[1:], high[:-1])
    assert (low[0].item(), high[-1].item()) == pytest.approx((30, RATE / 2), rel=1e-4)
    widths = (1 + high / 700).log() - (1 + low / 700).log()
    torch.testing.assert_close(widths, widths.mean().expand(32), rtol=1e-3, atol=0)
    gains = torch.fft.rfft(filters.responses(), n=4096).abs()
    peaks = gains.argmax(1) * RATE / 4096
    blur = RATE / TAPS  # Hz that so many taps can tell apart
    assert ((peaks > low - blur) & (peaks < high + blur)).all()
    hertz = torch.arange(gains.shape[1]) * RATE / 4096
    for gain, first, last in zip(gains[20:], low[20:], high[20:], strict=True):  # wider than the blur
        inside = gain[(hertz > first + 2 * blur) & (hertz < last - 2 * blur)]
        outside = gain[(hertz < first - 2 * blur) | (hertz > last + 2 * blur)]
        assert inside.min() > 0.97
        assert outside.numel() == 0 or outside.max() < 0.01


def test_cutoffs_of_any_sign_and_order_give_a_band():
    filters = SincFilters(8, taps=TAPS, rate=RATE)
    plain = filters.responses()
    with torch.no_grad():
        widths = filters.high - filters.low
        filters.low.neg_()
        filters.high.copy_(filters.low - widths)
    torch.testing.assert_close(filters.responses(), plain)


@pytest.mark.parametrize("samples", [1, 31, 32, 500])
def test_the_product_of_matrices_is_the_convolution(samples):
    torch.manual_seed(0)
    waves, filters = torch.randn(2, samples), torch.randn(5, 21)
    expected = F.conv1d(waves[:, None], filters[:, None], padding=10).transpose(1, 2)
    torch.testing.assert_close(convolve(waves, filters), expected, rtol=1e-4, atol=1e-5)
