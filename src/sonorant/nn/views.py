"""A view of an utterance: a stretch of it that sounds otherwise."""

from typing import Annotated

from msgspec import Meta
from torch import Generator

from sonorant.config import Config
from sonorant.nn import augment
from sonorant.nn.augment import Span, Wave, chance, uniform
from sonorant.nn.pitch import change_pitch
from sonorant.nn.sounds import MADE, Sounds

Share = Annotated[float, Meta(ge=0, le=1)]


class ViewConfig(Config, frozen=True, kw_only=True):
    """How views differ: each strength is drawn anew, between two numbers where there are two.

    A view is `crop_seconds` long, and of an utterance shorter than that over `crop_share`, that share of it.
    `speed` is the largest change, `pitch` the largest in semitones, without a change of speed, `gain` the
    largest in decibels. `noise`, `reverberation` and `band_drop` are the probabilities of their kind; `snr`
    is in dB, `rt60` in seconds, `band_width` the widest band that is dropped, in Hz. `noises` and `rooms` are
    folders or manifests of recorded noise and of rooms' responses to an impulse; without them both are made.
    The rest are SpecAugment's masks on the frames.
    """

    crop_seconds: Annotated[float, Meta(gt=0)] = 2.0
    crop_share: Annotated[float, Meta(gt=0, le=1)] = 0.8
    speed: Annotated[float, Meta(ge=0, le=0.5)] = 0.1
    pitch: Annotated[float, Meta(ge=0, le=12)] = 0.0
    gain: Annotated[float, Meta(ge=0)] = 6.0
    noise: Share = 0.5
    noises: str | None = None
    snr: Span = (5.0, 20.0)
    reverberation: Share = 0.5
    rooms: str | None = None
    rt60: Span = (0.1, 0.6)
    band_drop: Share = 0.2
    band_width: Annotated[float, Meta(gt=0)] = 1000.0
    time_masks: Annotated[int, Meta(ge=0)] = 1
    time_share: Share = 0.1
    band_masks: Annotated[int, Meta(ge=0)] = 1
    band_share: Share = 0.2

    def __post_init__(self) -> None:
        for name, (low, high) in {"snr": self.snr, "rt60": self.rt60}.items():
            if low > high:
                raise ValueError(f"{name} goes from {low} to {high}; the smaller number comes first")
        if self.rt60[0] <= 0:
            raise ValueError(f"rt60 starts at {self.rt60[0]}; give seconds above 0")


def view(wave: Wave, config: ViewConfig, *, rate: int, generator: Generator, sounds: Sounds = MADE) -> Wave:
    """One view of a waveform with `rate` samples a second: as a room, a microphone and its place have it."""
    samples = min(round(config.crop_seconds * rate), round(config.crop_share * len(wave)))
    wave = augment.crop(wave, max(samples, 1), generator)
    wave = augment.change_speed(wave, round(100 * (1 + uniform(-config.speed, config.speed, generator))))
    if config.pitch:
        wave = change_pitch(wave, uniform(-config.pitch, config.pitch, generator), rate=rate)
    if chance(config.reverberation, generator):
        wave = sounds.in_room(wave, rt60=config.rt60, rate=rate, generator=generator)
    if chance(config.noise, generator):
        noise = sounds.noise(len(wave), generator).to(wave)
        wave = augment.add_noise(wave, noise, snr=uniform(*config.snr, generator))
    if chance(config.band_drop, generator):
        width = uniform(0, config.band_width, generator)
        low = uniform(0, rate / 2 - width, generator)
        wave = augment.drop_band(wave, low=low, high=low + width, rate=rate)
    return augment.gain(wave, uniform(-config.gain, config.gain, generator))
