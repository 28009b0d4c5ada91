"""Ways to change how an utterance sounds and not what is said or who says it: pure functions of a waveform.

Waveforms are `samples` in [-1, 1] without padding. Strengths are numbers with a unit; what is drawn comes
from a generator of the utterance's own, so the same state of it gives the same result. Noise and rooms are
made here and need no files; `nn/sounds.py` takes recorded ones, `nn/pitch.py` changes the pitch alone.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias, TypeVar

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F

Wave: TypeAlias = Float[Tensor, " samples"]
Span: TypeAlias = tuple[float, float]  # from, to
Choice = TypeVar("Choice")

_CROSSINGS = 16  # of zero, on each side of the resampling filter
_DIRECT = 1.0  # energy of a room's direct sound over that of all that comes later


def uniform(low: float, high: float, generator: Generator) -> float:
    """A number between the two."""
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()


def chance(probability: float, generator: Generator) -> bool:
    """True with that probability."""
    return uniform(0, 1, generator) < probability


def choose(choices: Sequence[Choice], generator: Generator) -> Choice:
    """One of them, all alike."""
    return choices[int(uniform(0, len(choices), generator))]


def crop(wave: Wave, samples: int, generator: Generator) -> Float[Tensor, " crop"]:
    """A stretch of so many samples from anywhere; the whole where it has no more."""
    places = max(len(wave) - samples, 0) + 1
    first = int(torch.randint(places, (), generator=generator))
    return wave[first : first + samples]


def gain(wave: Wave, decibels: float) -> Wave:
    """Louder by so many decibels, or quieter where they are below 0."""
    return wave * 10 ** (decibels / 20)


def coloured_noise(samples: int, exponent: float, generator: Generator) -> Float[Tensor, " samples"]:
    """Normal noise of mean square 1 whose power falls as 1 / f ** exponent: 0 white, 1 pink, 2 brown."""
    size = _transform_size(samples)
    spectrum = torch.fft.rfft(torch.randn(size, generator=generator))
    weights = torch.arange(len(spectrum)).clamp(min=1) ** (-exponent / 2)
    noise: Tensor = torch.fft.irfft(spectrum * weights, n=size)[:samples]
    return noise / noise.square().mean().sqrt().clamp(min=1e-12)


def add_noise(wave: Wave, noise: Wave, *, snr: float) -> Wave:
    """The sum, with the noise scaled so that the ratio of the two mean powers is `snr` decibels."""
    ratio = wave.square().mean() / noise.square().mean().clamp(min=1e-12)
    return wave + noise * ratio.sqrt() * 10 ** (-snr / 20)


def room_response(rt60: float, rate: int, generator: Generator) -> Float[Tensor, " response"]:
    """A synthetic room: the direct sound, then normal noise that falls by 60 dB in `rt60` seconds.

    The decay of a diffuse sound field (J. A. Moorer, "About This Reverberation Business", Computer Music
    Journal 1979). The direct sound holds as much energy as all that follows.
    """
    samples = max(2, round(rt60 * rate))
    decay = 10 ** (-3 * torch.arange(1, samples) / (rt60 * rate))
    tail = torch.randn(samples - 1, generator=generator) * decay
    tail = tail * (_DIRECT * tail.square().sum()).rsqrt()
    return torch.cat([torch.ones(1), tail])


def reverberate(wave: Wave, response: Float[Tensor, " response"], *, delay: int = 0) -> Wave:
    """The wave in a room, as long and as loud as before; what rings on behind its end is cut off.

    `delay` is where the response has its direct sound, in samples: with it the wave stays where it was.
    """
    size = _transform_size(len(wave) + len(response) - 1)
    product = torch.fft.rfft(wave, n=size) * torch.fft.rfft(response, n=size)
    wet: Tensor = torch.fft.irfft(product, n=size)[delay : delay + len(wave)]
    return as_loud(wet, wave)


def as_loud(wave: Wave, model: Wave) -> Wave:
    """The wave with as much energy as the model; silence stays silent."""
    powers = model.square().sum() / wave.square().sum().clamp(min=1e-12)
    return wave * powers.sqrt()


def overlap(wave: Wave, other: Float[Tensor, " other"], *, snr: float, start: int) -> Wave:
    """With another voice from sample `start` on; the ratio of their energies, as heard, is `snr` decibels."""
    heard = other[: len(wave) - start]
    return add_noise(wave, F.pad(heard, (start, len(wave) - start - len(heard))), snr=snr)


def clip(wave: Wave, factor: float) -> Wave:
    """Cut off at `factor` times its highest and at `factor` times its lowest sample."""
    return wave.clamp(factor * wave.min(), factor * wave.max())


def chop(wave: Wave, *, mean: float, deviation: float, generator: Generator) -> Wave:
    """With zeros in a stretch anywhere, whose length in samples is drawn from a normal distribution."""
    drawn = mean + deviation * torch.randn((), generator=generator, dtype=torch.float64).item()
    samples = min(max(round(drawn), 0), len(wave))
    first = int(uniform(0, len(wave) - samples + 1, generator))
    silent = torch.arange(len(wave), device=wave.device) - first
    return wave.masked_fill((silent >= 0) & (silent < samples), 0)


def change_speed(wave: Wave, percent: int) -> Float[Tensor, " resampled"]:
    """Played at so many percent of its speed, and every frequency at as many percent of its own.

    Interpolation by a sinc under a Hann window, which cuts off what would not fit below half the rate. Every
    hundred samples of the result come from as many filters, one matrix for all of them.
    """
    if percent == 100:
        return wave
    filters = _filters(percent, wave.device)
    reach = (len(filters) - percent) // 2
    count = round(len(wave) * 100 / percent)
    padded = F.pad(wave, (reach, len(filters) + percent))
    with torch.autocast(wave.device.type, enabled=False):  # bfloat16 has 8 bits
        return (padded.unfold(0, len(filters), percent) @ filters).flatten()[:count]


def drop_band(wave: Wave, *, low: float, high: float, rate: int) -> Wave:
    """Without the frequencies from `low` to `high` Hz."""
    size = _transform_size(len(wave))
    spectrum = torch.fft.rfft(wave, n=size)
    hertz = torch.arange(len(spectrum), device=wave.device) * rate / size
    kept: Tensor = torch.fft.irfft(spectrum.masked_fill((hertz >= low) & (hertz <= high), 0), n=size)
    return kept[: len(wave)]


def downsample(wave: Wave, lower: int, *, rate: int) -> Wave:
    """As if it had been recorded at a lower rate: at its own one, without what lies above half of that."""
    return drop_band(wave, low=lower / 2, high=rate, rate=rate)


@lru_cache(maxsize=128)
def _filters(percent: int, device: torch.device) -> Float[Tensor, "taps phases"]:
    """The weights of neighbouring samples in each of a hundred samples at another speed."""
    cutoff = min(1.0, 100 / percent)
    reach = math.ceil(_CROSSINGS / cutoff)
    taps = torch.arange(percent + 2 * reach, dtype=torch.float64)[:, None] - reach
    distances = taps - torch.arange(100) * percent / 100
    window = (torch.pi * distances / (2 * reach)).cos().square() * (distances.abs() < reach)
    return (cutoff * torch.sinc(cutoff * distances) * window).float().to(device)


def _transform_size(samples: int) -> int:
    """The power of two that so many samples fit into: other sizes may be many times slower."""
    return 1 << (samples - 1).bit_length()
