"""What PASE+ does to speech before its encoder hears it.

M. Ravanelli et al., "Multi-task Self-Supervised Learning for Robust Speech Recognition", ICASSP 2020,
https://arxiv.org/abs/2001.09239, section 3.1. Probabilities, strengths and the order are those of the
authors' code (https://github.com/santi-pdp/pase). Each distortion is drawn for itself; several may meet.
Targets stay those of clean speech.

Deviations: what the authors read from files (noise, rooms, the filters of dropped bands) is made here where
none are given; stretches of zeros lie anywhere, and not only where a detector finds speech.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from msgspec import Meta
from torch import Generator

from sonorant.config import Config
from sonorant.nn import augment
from sonorant.nn.augment import Span, Wave, chance, choose, uniform
from sonorant.nn.sounds import MADE, Sounds
from sonorant.types import Padded, pad

Share = Annotated[float, Meta(ge=0, le=1)]
Decibels = Annotated[tuple[float, ...], Meta(min_length=1)]
Factor = Annotated[float, Meta(gt=0, le=1)]

_LATEST = 0.75  # of an utterance: until there another voice may set in


class DistortionConfig(Config, frozen=True, kw_only=True):
    """The probability of each distortion, and the strengths that are drawn from: one of several, or a number
    between two.

    `rooms`, `noises` and `voices` are folders or manifests of recordings: responses of rooms to an impulse,
    noise, other people's speech. Without them rooms (of `rt60` seconds) and noise are made, and the other
    voice is that of a neighbour in the batch. `snr` and `overlap_snr` are in dB, `band_width` is the widest
    band that is dropped, in Hz, `lower_rate` in samples a second. A stretch of zeros is as long as a normal
    distribution has it with one of the means and deviations in `chops`, in seconds; there are up to
    `most_chops`.
    """

    reverberation: Share = 0.5
    rooms: str | None = None
    rt60: Span = (0.1, 0.6)
    overlap: Share = 0.1
    voices: str | None = None
    overlap_snr: Decibels = (5.0, 7.5, 10.0)
    noise: Share = 0.4
    noises: str | None = None
    snr: Decibels = (0.0, 5.0, 10.0)
    clipping: Share = 0.2
    clip_factors: Annotated[tuple[Factor, ...], Meta(min_length=1)] = (0.1, 0.3, 0.5)
    chop: Share = 0.2
    chops: Annotated[tuple[Span, ...], Meta(min_length=1)] = ((0.05, 0.025), (0.1, 0.05))
    most_chops: Annotated[int, Meta(ge=1)] = 5
    band_drop: Share = 0.35
    band_width: Annotated[float, Meta(gt=0)] = 1000.0
    downsampling: Share = 0.25
    lower_rate: Annotated[int, Meta(gt=0)] = 8000

    def __post_init__(self) -> None:
        if not 0 < self.rt60[0] <= self.rt60[1]:
            raise ValueError(
                f"rt60 goes from {self.rt60[0]} to {self.rt60[1]}; give seconds, the shorter first"
            )

    @property
    def couples_utterances(self) -> bool:
        """Whether an utterance may be mixed with a neighbour in the batch."""
        return self.overlap > 0 and self.voices is None


def distort(
    inputs: Padded,
    config: DistortionConfig,
    *,
    rate: int,
    generators: Sequence[Generator],
    sounds: Sounds = MADE,
) -> Padded:
    """The batch as the encoder hears it: as long, with zeros in the padding, each utterance distorted by
    draws from its own generator.

    With `couples_utterances` which neighbour an utterance is mixed with depends on the batch, and alone it
    is mixed with none; all else that it meets is the same in any batch.
    """
    waves = [wave[:length] for wave, length in zip(inputs.values, inputs.lengths.tolist(), strict=True)]
    distorted = [
        _distort(wave, _Scene(config, rate, generator, sounds, [*waves[:row], *waves[row + 1 :]]))
        for row, (wave, generator) in enumerate(zip(waves, generators, strict=True))
    ]
    values = inputs.values.new_zeros(inputs.values.shape)
    together = pad(distorted).values
    values[:, : together.shape[1]] = together
    return Padded(values, inputs.lengths)


@dataclass(frozen=True)
class _Scene:
    """What one utterance's distortions depend on besides its waveform."""

    config: DistortionConfig
    rate: int
    generator: Generator
    sounds: Sounds
    neighbours: Sequence[Wave]

    def other(self, wave: Wave) -> Wave:
        """Another voice: a recorded one, a neighbour's, or silence where there is none. What is drawn does
        not depend on the neighbours."""
        if self.sounds.voices is not None:
            return self.sounds.voices.draw(self.generator).to(wave)
        place = uniform(0, 1, self.generator)
        if not self.neighbours:
            return torch.zeros_like(wave)
        return self.neighbours[int(place * len(self.neighbours))]


def _distort(wave: Wave, scene: _Scene) -> Wave:
    config = scene.config
    steps = (
        (config.reverberation, _reverberate),
        (config.overlap, _overlap),
        (config.noise, _add_noise),
        (config.clipping, _clip),
        (config.chop, _chop),
        (config.band_drop, _drop_band),
        (config.downsampling, _downsample),
    )
    for probability, change in steps:
        if chance(probability, scene.generator):
            wave = change(wave, scene)
    return wave


def _reverberate(wave: Wave, scene: _Scene) -> Wave:
    return scene.sounds.in_room(wave, rt60=scene.config.rt60, rate=scene.rate, generator=scene.generator)


def _overlap(wave: Wave, scene: _Scene) -> Wave:
    """With another voice, in another room unless there are to be none."""
    config, generator = scene.config, scene.generator
    snr = choose(config.overlap_snr, generator)
    start = int(uniform(0, _LATEST, generator) * len(wave))
    other = scene.other(wave)
    first = int(uniform(0, max(len(other) - len(wave) + start, 0) + 1, generator))
    other = other[first:]
    if config.reverberation:
        other = scene.sounds.in_room(other, rt60=config.rt60, rate=scene.rate, generator=generator)
    return augment.as_loud(augment.overlap(wave, other, snr=snr, start=start), wave)


def _add_noise(wave: Wave, scene: _Scene) -> Wave:
    noise = scene.sounds.noise(len(wave), scene.generator).to(wave)
    noisy = augment.add_noise(wave, noise, snr=choose(scene.config.snr, scene.generator))
    return augment.as_loud(noisy, wave)


def _clip(wave: Wave, scene: _Scene) -> Wave:
    return augment.clip(wave, choose(scene.config.clip_factors, scene.generator))


def _chop(wave: Wave, scene: _Scene) -> Wave:
    config, generator = scene.config, scene.generator
    for _ in range(1 + int(uniform(0, config.most_chops, generator))):
        mean, deviation = (seconds * scene.rate for seconds in choose(config.chops, generator))
        wave = augment.chop(wave, mean=mean, deviation=deviation, generator=generator)
    return wave


def _drop_band(wave: Wave, scene: _Scene) -> Wave:
    width = uniform(0, scene.config.band_width, scene.generator)
    low = uniform(0, scene.rate / 2 - width, scene.generator)
    left = augment.drop_band(wave, low=low, high=low + width, rate=scene.rate)
    return augment.as_loud(left, wave)


def _downsample(wave: Wave, scene: _Scene) -> Wave:
    return augment.as_loud(augment.downsample(wave, scene.config.lower_rate, rate=scene.rate), wave)
