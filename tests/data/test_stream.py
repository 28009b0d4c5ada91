"""Guards audio from pipes and microphones: what was written comes, and what cannot be read is told."""

import io
import itertools
import struct
import sys
import types
import wave

import numpy as np
import pytest

from sonorant.data.audio import AudioError
from sonorant.data.stream import from_file, from_microphone

SAMPLES = np.random.default_rng(0).integers(-3000, 3000, size=(2500, 2), dtype=np.int16)


class Pipe(io.RawIOBase):
    """Gives at most 700 bytes at once, and cannot be sought in."""

    def __init__(self, content):
        self._file = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        content = self._file.read(min(700, len(buffer)))
        buffer[: len(content)] = content
        return len(content)


def piped(content, rate=16000, wanted=16000):
    return np.concatenate(list(from_file(io.BufferedReader(Pipe(content)), rate, wanted)))


def wav(samples, rate=16000):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((samples.shape[1], 2, rate, 0, "NONE", ""))
        out.writeframes(samples.tobytes())
    return file.getvalue()


def test_raw_samples_are_mono():
    found = piped(SAMPLES[:, 0].tobytes())
    np.testing.assert_array_equal(found, SAMPLES[:, 0].astype(np.float32) / 2**15)
    assert len(piped(SAMPLES[:, 0].tobytes()[:-1])) == 2499
    assert list(from_file(io.BytesIO(b""), 16000, 16000)) == []


def test_a_wav_tells_its_channels_whatever_length_it_promises():
    expected = SAMPLES.astype(np.float32).mean(1) / 2**15
    content = bytearray(wav(SAMPLES))
    np.testing.assert_allclose(piped(bytes(content), rate=8000), expected)
    content[40:44] = struct.pack("<I", 0x7FFFFFFF)  # as programs write that do not know it yet
    np.testing.assert_allclose(piped(bytes(content)), expected)
    more = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    np.testing.assert_allclose(piped(bytes(content[:36] + more + content[36:])), expected)


def test_other_rates_are_resampled():
    sine = (9000 * np.sin(np.arange(8000) * 2 * np.pi * 440 / 8000)).astype(np.int16)
    for found in (piped(wav(sine[:, None], 8000)), piped(sine.tobytes(), rate=8000)):
        assert len(found) == 16000
        expected = 9000 / 2**15 * np.sin(np.arange(16000) * 2 * np.pi * 440 / 16000)
        np.testing.assert_allclose(found[1000:-1000], expected[1000:-1000], atol=0.01)


def test_blocks_come_before_the_stream_ends():
    endless = itertools.cycle([SAMPLES[:800, 0].tobytes()])
    file = types.SimpleNamespace(read=lambda size: next(endless)[:size])
    first = next(iter(from_file(file, 16000, 16000)))
    assert len(first) == 800  # 0.05 s


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"RIFF1234AVI ", "is RIFF, but not WAV"),
        (b"RIFF1234WAVEdata" + b"\0" * 99, "a WAV without a format"),
        (wav(SAMPLES)[:34] + struct.pack("<H", 24) + wav(SAMPLES)[36:], "WAV of 24 bits, kind 1"),
    ],
)
def test_other_wavs_are_refused(content, told):
    with pytest.raises(AudioError, match=told):
        piped(content)


class PortAudioError(Exception):
    """What the library raises without a device."""


def library(read):
    class InputStream:
        def __init__(self, **how):
            assert how == {"samplerate": 16000, "channels": 1, "dtype": "float32"}

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read(self, count):
            return read(count)

    return types.SimpleNamespace(InputStream=InputStream, PortAudioError=PortAudioError)


def test_a_microphone_gives_blocks(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", library(lambda count: (np.ones((count, 1), "f4"), False)))
    found = list(itertools.islice(from_microphone(16000), 3))
    assert [block.shape for block in found] == [(800,)] * 3


def test_a_microphone_that_is_not_there_is_told(monkeypatch):
    def failing(_):
        raise PortAudioError("Error querying device\n-1")

    monkeypatch.setitem(sys.modules, "sounddevice", library(failing))
    with pytest.raises(AudioError, match=r"microphone: Error querying device -1 \(choose one"):
        next(from_microphone(16000))
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(AudioError, match=r"needs the package sounddevice \(pip install 'sonorant\[mic\]'\)"):
        next(from_microphone(16000))
