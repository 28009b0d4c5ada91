"""Noise, rooms and other voices that utterances are mixed with: recorded ones, or made for the purpose.

Where recordings come from is not known here: `data/recordings.py` reads those that a configuration names.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from sonorant.nn.augment import Span, Wave, coloured_noise, crop, reverberate, room_response, uniform


class Recordings(Protocol):
    """A collection of waveforms, all at the rate of the utterances."""

    def draw(self, generator: Generator) -> Wave:
        """One of them, whole. ValueError: it cannot be read."""


@dataclass(frozen=True)
class Sounds:
    """What is recorded: noises, responses of rooms to an impulse, speech; None where nothing is."""

    noises: Recordings | None = None
    rooms: Recordings | None = None
    voices: Recordings | None = None

    def noise(self, samples: int, generator: Generator) -> Float[Tensor, " samples"]:
        """So many samples of a recording, from anywhere, over and over where it is shorter; without
        recordings coloured noise, from white to brown."""
        if self.noises is None:
            return coloured_noise(samples, uniform(0, 2, generator), generator)
        noise = self.noises.draw(generator)
        if len(noise) > samples:
            return crop(noise, samples, generator)
        start = int(uniform(0, len(noise), generator))
        return noise[(start + torch.arange(samples)) % len(noise)]

    def in_room(self, wave: Wave, *, rt60: Span, rate: int, generator: Generator) -> Wave:
        """The wave in a recorded room, its direct sound where it was; without recordings in a synthetic one,
        whose time of reverberation in seconds lies between the two."""
        if self.rooms is None:
            response = room_response(uniform(*rt60, generator), rate, generator)
            return reverberate(wave, response.to(wave))
        response = self.rooms.draw(generator)
        return reverberate(wave, response.to(wave), delay=int(response.abs().argmax()))


MADE = Sounds()
"""Nothing recorded."""
