"""Band-pass filters that are two numbers each, and their convolution with a waveform.

M. Ravanelli, Y. Bengio, "Speaker Recognition from Raw Waveform with SincNet", SLT 2018,
https://arxiv.org/abs/1808.00158. With cut-offs f1 < f2, n in samples around the middle and L taps,

    g[n] = 2 f2 sinc(2 pi f2 n) - 2 f1 sinc(2 pi f1 n)
    f1 = |theta_1|,  f2 = f1 + |theta_2 - theta_1|
    w[n] = 0.54 - 0.46 cos(2 pi n / L),  n from 0 to L here

Cut-offs are learned in kHz: a step of Adam at 1e-3 moves one by
about a hertz.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.nn.features import hertz, mel

LOWEST = 30.0  # Hz, of the first filter
_BLOCK = 32  # samples that one product of matrices gives at once


class SincFilters(nn.Module):
    """`filters` band-passes of `taps` samples; at first side by side on the mel scale, to half the rate."""

    def __init__(self, filters: int, *, taps: int, rate: int) -> None:
        super().__init__()
        self.taps, self.rate = taps, rate
        first, last = mel(torch.tensor([LOWEST, rate / 2], dtype=torch.float64)).tolist()
        edges = hertz(torch.linspace(first, last, filters + 1, dtype=torch.float64)) / 1000
        self.low = nn.Parameter(edges[:-1].float())  # theta_1
        self.high = nn.Parameter(edges[1:].float())  # theta_2

    def bands(self) -> tuple[Float[Tensor, " filters"], Float[Tensor, " filters"]]:
        """The cut-offs of each filter in Hz, the lower first."""
        low = self.low.abs()
        return 1000 * low, 1000 * (low + (self.high - self.low).abs())

    def responses(self) -> Float[Tensor, "filters taps"]:
        """The filters' impulse responses, in single precision."""
        low, high = self.bands()
        return band_pass(low, high, taps=self.taps, rate=self.rate)

    def forward(self, waves: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch samples filters"]:
        """Every filter's output for every sample, with zeros beyond the ends. Filters are symmetric, so that
        nothing is late."""
        return convolve(waves, self.responses())


def band_pass(
    low: Float[Tensor, " filters"], high: Float[Tensor, " filters"], *, taps: int, rate: int
) -> Float[Tensor, "filters taps"]:
    """The difference of two ideal low-passes, from `low` to `high` Hz, under a Hamming window."""
    places = torch.arange(taps, device=low.device) - (taps - 1) / 2
    turns = (places / taps + 0.5) * 2 * torch.pi
    window = 0.54 - 0.46 * turns.cos()
    return (_low_pass(high / rate, places) - _low_pass(low / rate, places)) * window


def convolve(
    waves: Float[Tensor, "batch samples"], filters: Float[Tensor, "filters taps"]
) -> Float[Tensor, "batch samples filters"]:
    """Each wave with each filter around each sample, for an odd number of taps: a product of matrices.

    A row is what a block of samples sees, and the matrix holds each filter at each place of the block: more
    products than are needed, and in bfloat16 on a CPU several times as fast as a convolution.
    """
    (count, taps), samples = filters.shape, waves.shape[1]
    behind = -samples % _BLOCK
    padded = F.pad(waves, (taps // 2, taps // 2 + behind))
    rows = padded.unfold(1, taps + _BLOCK - 1, _BLOCK)
    placed = torch.stack([F.pad(filters, (place, _BLOCK - 1 - place)) for place in range(_BLOCK)])
    blocks: Tensor = rows @ placed.flatten(0, 1).T
    return blocks.reshape(len(waves), -1, count)[:, :samples]


def _low_pass(
    cutoff: Float[Tensor, " filters"], places: Float[Tensor, " taps"]
) -> Float[Tensor, "filters taps"]:
    """2 f sinc(2 pi f n), with the cut-off as a share of the rate."""
    return 2 * cutoff[:, None] * torch.sinc(2 * cutoff[:, None] * places)
