"""The fundamental frequency of a voice, by YIN: batched, without a gradient.

A. de Cheveigne, H. Kawahara, "YIN, a fundamental frequency estimator for speech and music", JASA 2002,
https://doi.org/10.1121/1.1458024

    d(tau) = sum over j of (x_j - x_{j+tau})^2                                                (eq. 6)
    d'(tau) = d(tau) / (1/tau sum over s = 1 .. tau of d(s)),  d'(0) = 1                      (eq. 8)

The period is the first lag in range at which d' has a minimum below the threshold, or its smallest minimum.
The paper's last step, a search among neighbouring frames, is left out.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

LOW, HIGH = 60.0, 300.0  # Hz, the range of PASE's tracker
SUM = 0.025  # seconds that d is a sum over
THRESHOLD = 0.15
SILENCE = 1e-7  # mean square of a frame below which nobody speaks


def frame_samples(rate: int) -> int:
    """The samples that are looked at for one frequency."""
    return round(SUM * rate) + _longest(rate) + 1


def fundamental(
    frames: Float[Tensor, "... samples"], *, rate: int
) -> tuple[Float[Tensor, "..."], Bool[Tensor, "..."]]:
    """The frequency in Hz of frames of `frame_samples` samples, and whether they are voiced: whether d' stays
    below the threshold there. The frequency of the other frames is a guess."""
    shortest, longest = int(rate / HIGH), _longest(rate)
    frames = frames.float() - frames.float().mean(-1, keepdim=True)  # an offset would cost digits
    dips = normalised_difference(frames, lags=longest + 1)
    middle, before, behind = dips[..., 1:-1], dips[..., :-2], dips[..., 2:]
    lags = torch.arange(1, longest + 1, device=dips.device)
    minimum = (middle <= before) & (middle < behind) & (lags >= shortest)
    candidates = middle.masked_fill(~minimum, torch.inf)
    good = candidates < THRESHOLD
    best = torch.where(good.any(-1), good.int().argmax(-1), candidates.argmin(-1))[..., None]
    depth = candidates.gather(-1, best)[..., 0]
    left, here, right = (each.gather(-1, best)[..., 0] for each in (before, middle, behind))
    bend = (left - 2 * here + right).clamp(min=1e-9)
    period = best[..., 0] + 1 + ((left - right) / (2 * bend)).clamp(-0.5, 0.5)  # of the parabola through them
    loud = frames.square().mean(-1) > SILENCE
    return (rate / period).clamp(LOW, HIGH), loud & (depth < THRESHOLD)


def normalised_difference(
    frames: Float[Tensor, "... samples"], *, lags: int
) -> Float[Tensor, "... lags_and_0"]:
    """d' at the lags from 0 to `lags`: all but the last `lags` samples of a frame, against later ones."""
    samples, size = frames.shape[-1], frames.shape[-1] - lags
    length = 1 << (samples - 1).bit_length()
    spectrum = torch.fft.rfft(frames, n=length)
    head = torch.fft.rfft(frames[..., :size], n=length)
    products = torch.fft.irfft(head.conj() * spectrum, n=length)[..., : lags + 1]
    sums = F.pad(frames.square().cumsum(-1), (1, 0))
    energies = sums[..., size:] - sums[..., : lags + 1]
    difference = (energies[..., :1] + energies - 2 * products).clamp(min=0)[..., 1:]  # eq. 6
    means = difference.cumsum(-1) / torch.arange(1, lags + 1, device=frames.device)
    relative = torch.where(means > 0, difference / means.clamp(min=1e-12), 1.0)  # eq. 8
    return F.pad(relative, (1, 0), value=1.0)


def _longest(rate: int) -> int:
    return int(rate / LOW)
