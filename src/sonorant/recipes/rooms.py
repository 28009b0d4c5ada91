"""Responses of simulated rooms to an impulse, for `rooms` of the distortions and of the views.

The image source method of J. B. Allen and D. A. Berkley, "Image method for efficiently simulating small-room
acoustics", JASA 1979, as pyroomacoustics has it.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float

from sonorant.config import ConfigError

SMALLEST, LARGEST = (3.0, 3.0, 2.5), (10.0, 8.0, 4.0)  # metres: length, width, height
RT60 = (0.2, 0.6)  # seconds, by Sabine's formula
WALL = 0.5  # metres that voice and microphone stay away from walls, floor and ceiling
_INAUDIBLE = 1e-6  # of a response's energy: -60 dB

Progress = Callable[[int, int], None]


def write_rooms(
    out: Path, count: int, *, rate: int = 16000, seed: int = 0, progress: Progress = lambda done, total: None
) -> None:
    """So many WAV files, each a shoebox with size, absorption, voice and microphone of its own.

    A room depends on seed and number alone. ConfigError: pyroomacoustics is missing, or there are files.
    """
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"{out}: is not empty (name a new folder)")
    out.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        response = room(rate, np.random.default_rng([seed, number]))
        soundfile.write(out / f"room_{number:05d}.wav", response, rate, subtype="FLOAT")
        progress(number + 1, count)


def room(rate: int, random: np.random.Generator) -> Float[np.ndarray, " samples"]:
    """The response of a room that is drawn, its largest sample at 1 or -1, until 60 dB below are left."""
    try:
        import pyroomacoustics as acoustics
    except ImportError as error:
        raise ConfigError("rooms: needs pyroomacoustics (pip install 'sonorant[rooms]')") from error
    size = random.uniform(SMALLEST, LARGEST)
    absorption, order = acoustics.inverse_sabine(random.uniform(*RT60), size)
    shoebox = acoustics.ShoeBox(size, fs=rate, materials=acoustics.Material(absorption), max_order=order)
    for add in (shoebox.add_source, shoebox.add_microphone):
        add(random.uniform(WALL, size - WALL))
    shoebox.compute_rir()
    response = np.asarray(shoebox.rir[0][0])
    left = np.square(response[::-1]).cumsum()[::-1]
    heard: Float[np.ndarray, " samples"] = response[left > _INAUDIBLE * left[0]]
    heard /= np.abs(heard).max()
    return heard
