"""Audio while it is recorded: from the standard input, or from a microphone through sounddevice."""

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from sonorant.data.audio import AudioError
from sonorant.data.chunks import resampled

BLOCK = 0.05  # seconds that are waited for at once
_PCM, _EXTENSIBLE = 1, 0xFFFE  # what a WAV header calls its samples
NEEDED = "pip install 'sonorant[mic]'"


def from_file(file: BinaryIO, rate: int, wanted: int) -> Iterator[Float[ndarray, " _samples"]]:
    """A stream of WAV or, without its header, of mono 16-bit samples, little-endian, `rate` a second.

    It comes at `wanted` samples a second, soon after it was written; a WAV's own rate and channels count.
    AudioError: it is a WAV, but not of 16-bit samples.
    """
    head = file.read(4)
    channels = 1
    if head == b"RIFF":
        channels, rate = _wav(file)
        head = b""
    return resampled(_blocks(file, head, channels, round(BLOCK * rate)), rate, wanted)


def _blocks(file: BinaryIO, head: bytes, channels: int, size: int) -> Iterator[Float[ndarray, " _samples"]]:
    width = 2 * channels
    while content := head + file.read(size * width - len(head)):
        head = b""
        whole = content[: len(content) // width * width]  # the end may be cut within a sample
        yield np.frombuffer(whole, dtype="<i2").reshape(-1, channels).mean(1, dtype=np.float32) / 2**15


def _wav(file: BinaryIO) -> tuple[int, int]:
    """Channels and samples a second, read up to where the samples begin. Lengths do not count: who writes
    while recording does not know them."""
    file.read(4)
    if file.read(4) != b"WAVE":
        raise AudioError("the standard input is RIFF, but not WAV (send WAV or raw 16-bit samples)")
    layout = b""
    while len(header := file.read(8)) == 8:
        name, size = struct.unpack("<4sI", header)
        if name == b"data":
            break
        content = file.read(size + size % 2)
        layout = content if name == b"fmt " else layout
    if len(layout) < 16:
        raise AudioError("the standard input is a WAV without a format (send raw 16-bit samples)")
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", layout[:16])
    if kind not in (_PCM, _EXTENSIBLE) or bits != 16 or not channels or not rate:
        raise AudioError(f"the standard input has WAV of {bits} bits, kind {kind} (record with -f S16_LE)")
    return channels, rate


def from_microphone(rate: int) -> Iterator[Float[ndarray, " _samples"]]:
    """The system's microphone, without an end. AudioError: there is none, or sounddevice is missing."""
    sounddevice = _sounddevice()
    try:
        with sounddevice.InputStream(samplerate=rate, channels=1, dtype="float32") as stream:
            while True:
                samples, _ = stream.read(round(BLOCK * rate))
                yield samples[:, 0].copy()
    except sounddevice.PortAudioError as error:
        cause = " ".join(str(error).split())
        raise AudioError(
            f"microphone: {cause} (choose one in the system's settings, or pipe audio in: "
            "arecord -f S16_LE -r 16000 | sonorant listen RUN -)"
        ) from error


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise AudioError(f"microphone: needs the package sounddevice ({NEEDED})") from error
    except OSError as error:  # which is how it tells that PortAudio is not there
        raise AudioError(f"microphone: {error} (install it: apt install libportaudio2)") from error
    return sounddevice
