"""Recordings of two speakers, mixed of single clips: who speaks when is known, because it was made so.

Each clip begins a mixture once, with a clip of another speaker laid over it from a random moment on, as loud
as it is or up to 5 dB louder or softer. All that is drawn follows from the clips' ids. Where a clip has
`units`, they say when it is spoken (pauses are not); else its energy does, within 35 dB of its loudest 25 ms.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from jaxtyping import Float32
from numpy import ndarray

from sonorant.data.audio import load
from sonorant.data.manifest import Clip

RATE = 16000
LONGEST = 15.0  # seconds of a clip that are used
LOUDER = 5.0  # dB at most, up or down
FLOOR, WINDOW, JOIN = 35.0, 0.025, 0.2  # dB; seconds; pauses shorter than that are spoken through
PEAK = 0.9

Wave = Float32[ndarray, " samples"]
Stretch = tuple[float, float]  # seconds


def mixtures(
    clips: Sequence[Clip], folder: Path, *, count: int, pauses: Callable[[str], bool] = lambda _: False
) -> list[Clip]:
    """So many mixtures at most, written as FLAC into the folder if they are not there; `units` hold who
    speaks when. Clips need speakers, two of them at least, else there are none."""
    ordered = sorted(clips, key=lambda clip: _hash(clip.id))
    made: list[Clip] = []
    for first in ordered:
        seed = int.from_bytes(_hash(first.id)[:7], "big")
        generator = torch.Generator().manual_seed(seed)
        others = [clip for clip in ordered if clip.speaker != first.speaker]
        if not others or len(made) == count:
            break
        second = others[int(torch.randint(len(others), (), generator=generator))]
        made.append(_mixture(first, second, folder, generator, pauses))
    return made


def _mixture(
    first: Clip, second: Clip, folder: Path, generator: torch.Generator, pauses: Callable[[str], bool]
) -> Clip:
    waves = [load(clip, RATE)[: int(LONGEST * RATE)] for clip in (first, second)]
    offset = int(torch.rand((), generator=generator) * len(waves[0]))
    gain = 10 ** ((2 * float(torch.rand((), generator=generator)) - 1) * LOUDER / 20)
    loudness = [float(np.sqrt(np.mean(np.square(wave)))) or 1.0 for wave in waves]
    mixed = np.zeros(max(len(waves[0]), offset + len(waves[1])), np.float32)
    mixed[: len(waves[0])] += waves[0]
    mixed[offset : offset + len(waves[1])] += waves[1] * np.float32(gain * loudness[0] / loudness[1])
    mixed *= np.float32(min(1.0, PEAK / max(float(np.abs(mixed).max()), 1e-9)))
    units = [
        (clip.speaker or "", start + shift / RATE, end + shift / RATE)
        for clip, wave, shift in ((first, waves[0], 0), (second, waves[1], offset))
        for start, end in spoken(clip, wave, pauses)
    ]
    name = f"{first.id}+{second.id}"
    path = folder / f"{_hash(f'{first} {second}').hex()[:16]}.flac"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.partial")
        soundfile.write(aside, mixed, RATE, format="FLAC", subtype="PCM_16")
        aside.replace(path)
    return Clip(name, str(path.absolute()), samples=len(mixed), rate=RATE, units=units, labels=first.labels)


def spoken(clip: Clip, wave: Wave, pauses: Callable[[str], bool]) -> list[Stretch]:
    """When the clip is spoken, by its units or by its energy; stretches near to each other are one."""
    end = len(wave) / RATE
    if clip.units:
        found = [(a, min(b, end)) for name, a, b in clip.units if not pauses(name) and a < end]
    else:
        size = int(WINDOW * RATE)
        count = max(len(wave) // size, 1)
        energy = np.square(wave[: count * size]).reshape(count, -1).mean(1) + 1e-12
        loud = np.flatnonzero(10 * np.log10(energy / energy.max()) > -FLOOR)
        found = [(place * WINDOW, min((place + 1) * WINDOW, end)) for place in loud.tolist()]
    joined: list[Stretch] = []
    for start, stop in sorted(found):
        if joined and start - joined[-1][1] < JOIN:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode()).digest()
