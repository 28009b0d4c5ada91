"""Guards listening: what pipes bring is written as a file would be, and latencies are those of settings."""

import io
import re
import sys
import types

import numpy as np
import pytest
import soundfile

from sonorant.asr.decode import Word
from sonorant.asr.live import Heard
from sonorant.recipes.listening import Latency

TOLD = re.compile(
    r"(\d+) words, told ([\d.]+) s behind .*, "
    r"([\d.]+) s in the slowest of twenty \(([\d.]+) s of waiting and "
    r"([\d.]+) s of computing in the middle\); ([\d.]+) s of audio, real-time factor [\d.]+\n"
)


@pytest.fixture
def wave(tmp_path, clip):
    """Two seconds or more, a second of silence in the middle, as WAV of 16-bit samples."""
    samples, rate = soundfile.read(clip.path)
    path = tmp_path / "speech.wav"
    soundfile.write(path, np.concatenate([samples, np.zeros(2 * rate), samples[:rate]]), rate)
    return path


def pipe(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(content)))


def test_a_pipe_gives_the_lines_of_the_file(monkeypatch, sonorant, finetuned, wave):
    expected = sonorant("listen", finetuned, wave)
    assert expected.code == 0
    assert expected.out.strip()
    pipe(monkeypatch, wave.read_bytes())
    assert sonorant("listen", finetuned, "-").out == expected.out
    pipe(monkeypatch, soundfile.read(wave, dtype="int16")[0].tobytes())
    raw = sonorant("listen", finetuned, "-", "--rate", soundfile.info(wave).samplerate)
    assert raw.out == expected.out
    assert float(TOLD.fullmatch(raw.err)[6]) == pytest.approx(soundfile.info(wave).duration, abs=0.06)


def test_words_wait_for_chunk_and_look_ahead(sonorant, finetuned, wave):
    waits = []
    for chunk, ahead in ((0.2, 0.2), (0.2, 1.0), (1.0, 0.2)):
        done = sonorant("listen", finetuned, wave, "--chunk", chunk, "--look-ahead", ahead)
        count, both, slowest, waited, computed, _ = map(float, TOLD.fullmatch(done.err).groups())
        assert count == len(done.out.split())
        assert ahead - 0.1 <= waited <= ahead + chunk + 0.1
        assert waited <= both <= slowest + 0.01
        assert computed > 0
        waits.append(waited)
    assert waits[0] < min(waits[1:])
    assert sonorant("listen", finetuned, wave, "-q").err == ""


def test_the_latency_is_taken_when_a_word_is_first_whole():
    latency = Latency(overlap=0.5)
    latency.note(Heard("we", 2.0), 0.1)
    latency.note(Heard("we g", 3.0), 0.2)
    latency.note(Heard("we go", 4.0), 0.3)
    words = (Word("we", 0.0, 1.0, 1.0), Word("go", 1.5, 2.0, 1.0), Word("on", 3.0, 3.5, 1.0))
    latency.note(Heard("we go on", 5.0, words), 0.4)
    latency.note(Heard("on", 9.0, (Word("on", 6.0, 7.0, 1.0),)), 0.5)
    assert latency.waited == pytest.approx([0.5, 1.5, 1.0, 1.5])
    assert latency.computed == [0.1, 0.3, 0.4, 0.5]


def test_ctrl_c_ends_the_stream_and_keeps_what_was_said(monkeypatch, sonorant, finetuned, wave):
    class Interrupted(io.BytesIO):
        def read(self, size=-1):
            content = super().read(size)
            if size and not content:
                raise KeyboardInterrupt
            return content

    expected = sonorant("listen", finetuned, wave)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=Interrupted(wave.read_bytes())))
    done = sonorant("listen", finetuned, "-")
    assert (done.code, done.out) == (0, expected.out)
    assert TOLD.fullmatch(done.err)


def test_silence_and_nothing_have_no_lines(monkeypatch, sonorant, finetuned):
    pipe(monkeypatch, b"")
    done = sonorant("listen", finetuned, "-")
    assert (done.code, done.out) == (0, "")
    assert done.err.startswith("no words; 0.0 s of audio")


def test_what_cannot_be_heard_is_told(monkeypatch, tmp_path, sonorant, finetuned):
    pipe(monkeypatch, b"RIFF1234AVI ")
    done = sonorant("listen", finetuned, "-")
    assert (done.code, "is RIFF, but not WAV" in done.line) == (2, True)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    done = sonorant("listen", finetuned)
    assert (done.code, "microphone: needs the package sounddevice" in done.line) == (2, True)
    done = sonorant("listen", finetuned, tmp_path / "none.wav")
    assert (done.code, "none.wav: cannot be read" in done.line) == (2, True)
