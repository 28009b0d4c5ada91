"""Energies of a gammatone filter bank: the ear's filters, as wide as its critical bands."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from sonorant.nn.spectrum import FLOOR, power_spectrum
from sonorant.types import Padded

LOWEST = 50.0  # Hz, of the first band's middle
ORDER = 4
WIDTH = 1.019  # of a filter, over the critical band's


def log_gammatone(waveforms: Padded, *, rate: int, bands: int, window: int, hop: int) -> Padded:
    """`batch samples` to `batch time bands`: natural logarithms of the energies behind each filter.

    Patterson, Holdsworth, Nimmo-Smith, Rice 1987, "An efficient auditory filterbank based on the gammatone
    function". Filters weigh the power spectrum of a Hann window: their outputs are not computed one by one,
    and short windows blur the narrow ones. `window` and `hop` are samples. In single precision.
    """
    spectrum = power_spectrum(waveforms, window=window, hop=hop, size=1 << (window - 1).bit_length())
    weights = responses(rate, (spectrum.values.shape[2] - 1) * 2, bands).to(spectrum.values.device)
    energies = (spectrum.values @ weights).clamp(min=FLOOR).log()
    return Padded(energies, spectrum.lengths).zeroed()


@lru_cache(maxsize=8)
def responses(rate: int, size: int, bands: int) -> Float[Tensor, "bins bands"]:
    """|H|^2 of each filter at the bins of a transform: 1 / (1 + ((f - f_c) / b)^2)^4, 1 at its middle."""
    bins = torch.arange(size // 2 + 1, dtype=torch.float64)[:, None] * rate / size
    middles = centres(rate, bands)
    widths = WIDTH * critical_band(middles)
    return (1 + ((bins - middles) / widths).square()).pow(-ORDER).float()


def centres(rate: int, bands: int) -> Float[Tensor, " bands"]:
    """Middles in Hz with equal distances on the scale of critical bands, the last one below half the rate."""
    ends = torch.tensor([LOWEST, rate / 2], dtype=torch.float64)
    first, last = (1 + 0.00437 * ends).log().tolist()
    return (torch.linspace(first, last, bands + 1, dtype=torch.float64)[:-1].exp() - 1) / 0.00437


def critical_band(hertz: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The width in Hz of the ear's band around a frequency: 24.7 (4.37 f / 1000 + 1) (Glasberg and Moore
    1990, "Derivation of auditory filter shapes from notched-noise data")."""
    return 24.7 * (0.00437 * hertz + 1)
