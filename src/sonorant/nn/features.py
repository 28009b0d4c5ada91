"""Log-mel filter bank energies, MFCC and their deltas, as Kaldi computes them, by matrix products."""

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sonorant.types import Padded

PREEMPHASIS = 0.97
FULL_SCALE = 2**15
"""Waveforms in [-1, 1] are brought to the steps of 16-bit audio, as Kaldi has them: its floor then lies below
everything but digital silence, where in [-1, 1] it would cut off quiet speech."""
FLOOR = torch.finfo(torch.float32).eps
LIFTER = 22
DELTA = 2  # frames on either side that a slope is taken over


def log_mel(
    waveforms: Padded,
    *,
    rate: int,
    mels: int = 80,
    low: float = 20.0,
    high: float | None = None,
    window: float = 0.025,
    hop: float = 0.010,
) -> Padded:
    """`batch samples` in [-1, 1] to `batch time mels`, natural logarithms, zeros in the padding.

    Kaldi's definition without dither: frames only where the whole window fits, mean removed,
    pre-emphasis, the Povey window, power spectrum, triangles on its mel scale from `low` to `high` Hz
    (None: half the rate). `window` and `hop` are seconds. Always in single precision: under bfloat16 the
    squared spectrum loses the weak bands.
    """
    length, step = round(window * rate), round(hop * rate)
    device = waveforms.values.device
    with torch.autocast(device.type, enabled=False):
        fourier = _fourier(length, device)
        triangles = _triangles(rate, length, mels, low, rate / 2 if high is None else high, device)
        frames = waveforms.values.float().mul(FULL_SCALE).unfold(1, length, step)
        energies = (frames @ fourier).square_() @ triangles
        logarithms = energies.clamp_(min=FLOOR).log_()
    return Padded(logarithms, frame_counts(waveforms.lengths, length, step)).zeroed()


def mfcc(
    waveforms: Padded,
    *,
    rate: int,
    coefficients: int = 13,
    mels: int = 23,
    window: float = 0.025,
    hop: float = 0.010,
) -> Padded:
    """`batch samples` in [-1, 1] to `batch time coefficients`, zeros in the padding.

    Kaldi's definition without energy and dither: log-mel energies from 20 Hz to half the rate, an orthonormal
    DCT-II and a sinusoidal lifter of 22. `window` and `hop` are seconds. In single precision.
    """
    energies = log_mel(waveforms, rate=rate, mels=mels, window=window, hop=hop)
    with torch.autocast(energies.values.device.type, enabled=False):
        values = energies.values @ _cosines(mels, coefficients, energies.values.device)
    return Padded(values, energies.lengths).zeroed()


def with_deltas(frames: Padded) -> Padded:
    """`batch time dim` to `batch time 3*dim`: frames, their slopes, the slopes' slopes, each kind together.

    Kaldi's `add-deltas`: the slope is that of the regression line through two frames on either side, the
    second order applies its filter twice, and an utterance's first and last frames go on beyond its ends.
    """
    values = frames.values
    offsets = torch.arange(-2 * DELTA, 2 * DELTA + 1, device=values.device)
    places = torch.arange(values.shape[1], device=values.device)[:, None] + offsets
    last = (frames.lengths - 1).clamp(min=0)[:, None, None]
    around = values[
        torch.arange(len(values), device=values.device)[:, None, None], places.clamp(min=0).minimum(last)
    ]
    filters = _delta_filters(values.device)
    orders: Float[Tensor, "batch time orders dim"] = torch.einsum("btwd,ow->btod", around, filters)
    return Padded(orders.flatten(2), frames.lengths).zeroed()


def frame_counts(samples: Tensor, length: int, step: int) -> Tensor:
    """How many windows of `length` samples, `step` apart, fit into each waveform."""
    return ((samples - length).div(step, rounding_mode="floor") + 1).clamp(min=0)


def mel(hertz: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The mel scale in the form that Kaldi and HTK use."""
    return 1127 * (1 + hertz / 700).log()


def hertz(mels: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The frequency of a place on the mel scale."""
    return 700 * ((mels / 1127).exp() - 1)


@lru_cache(maxsize=8)
def _fourier(length: int, device: torch.device) -> Float[Tensor, "samples bins"]:
    """The matrix from a frame of samples to the real, then the imaginary part of its spectrum.

    Removing the mean, pre-emphasis and the window are linear too, so they are folded in.
    """
    identity = torch.eye(length, dtype=torch.float64)
    centred = identity - 1 / length
    # what stands in for the predecessor of a frame's first sample does not matter: the window is zero there
    emphasised = centred - PREEMPHASIS * centred.roll(1, dims=1)
    turns = torch.arange(length, dtype=torch.float64) / (length - 1)
    povey = (0.5 - 0.5 * (2 * math.pi * turns).cos()) ** 0.85
    spectrum = torch.fft.rfft(emphasised * povey, n=_transform_size(length))[:, :-1]
    return torch.cat([spectrum.real, spectrum.imag], dim=1).float().to(device)


@lru_cache(maxsize=8)
def _triangles(
    rate: int, length: int, mels: int, low: float, high: float, device: torch.device
) -> Float[Tensor, "bins mels"]:
    """Triangular weights with equal distances on the mel scale, for the real and the imaginary parts."""
    size = _transform_size(length)
    bins = mel(torch.arange(size // 2, dtype=torch.float64) * rate / size)[:, None]
    first, last = mel(torch.tensor([low, high], dtype=torch.float64)).tolist()
    edges = torch.linspace(first, last, mels + 2, dtype=torch.float64)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0).repeat(2, 1).float().to(device)


@lru_cache(maxsize=8)
def _cosines(mels: int, coefficients: int, device: torch.device) -> Float[Tensor, "mels coefficients"]:
    """The first columns of the orthonormal DCT-II, each scaled by the lifter."""
    order = torch.arange(coefficients, dtype=torch.float64)
    places = (torch.arange(mels, dtype=torch.float64) + 0.5)[:, None]
    cosines = (math.pi / mels * places * order).cos() * (2 / mels) ** 0.5
    cosines[:, 0] = mels**-0.5
    lifter = 1 + LIFTER / 2 * (math.pi * order / LIFTER).sin()
    columns: Tensor = (cosines * lifter).float()
    return columns.to(device)


@lru_cache(maxsize=8)
def _delta_filters(device: torch.device) -> Float[Tensor, "orders window"]:
    """What is taken of a frame and its neighbours: itself, the slope, the slope of slopes."""
    offsets = torch.arange(-DELTA, DELTA + 1, dtype=torch.float64)
    slope = offsets / offsets.square().sum()
    twice = sum(weight * F.pad(slope, (place, 2 * DELTA - place)) for place, weight in enumerate(slope))
    itself = torch.ones(1, dtype=torch.float64)
    filters = [F.pad(itself, (2 * DELTA, 2 * DELTA)), F.pad(slope, (DELTA, DELTA)), twice]
    return torch.stack(filters).float().to(device)


def _transform_size(length: int) -> int:
    """The power of two that a window is zero-padded to."""
    return 1 << (length - 1).bit_length()
