"""Guards decoding: formats give the sound that went in, parts equal slices, bad files name their cause."""

import math
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonorant.data import audio
from sonorant.data.audio import EXTENSIONS, AudioError, blocks, inspect, load
from sonorant.data.manifest import Clip

SPEECH = sorted((Path(__file__).parents[1] / "fixtures" / "speech").glob("*.flac"))
EXACT = {".wav": 1e-4, ".flac": 1e-4, ".aiff": 1e-4}  # 16-bit rounding
CODED = {".mp3": 0.15, ".ogg": 0.15, ".opus": 0.35}  # relative error of a lossy codec


@pytest.fixture(scope="module")
def speech():
    """4 s at 16 kHz."""
    waves = [soundfile.read(path, dtype="float32")[0] for path in SPEECH[:5]]
    return np.concatenate(waves)[: 4 * 16000]


def at(speech, rate):
    """The speech as if recorded at another rate, by Fourier interpolation (not the resampler under test)."""
    length = len(speech) * rate // 16000
    spectrum = np.fft.rfft(speech)
    spectrum = np.pad(spectrum, (0, max(0, length // 2 + 1 - len(spectrum))))[: length // 2 + 1]
    return (np.fft.irfft(spectrum, length) * length / len(speech)).astype(np.float32)


def save(path, wave, rate=16000):
    subtype = {".ogg": "VORBIS", ".opus": "OPUS"}.get(path.suffix)
    soundfile.write(path, wave, rate, format="OGG" if subtype else None, subtype=subtype)
    return path


def relative(got, expected):
    return math.sqrt(((got - expected) ** 2).mean() / (expected**2).mean())


@pytest.mark.parametrize("suffix", [*EXACT, *CODED])
def test_every_format_gives_the_sound_that_went_in(tmp_path, speech, suffix):
    path = save(tmp_path / f"a{suffix}", speech)
    wave = load(Clip("a", str(path)), 16000)
    assert wave.dtype == np.float32
    assert wave.shape == speech.shape
    assert relative(wave, speech) < (EXACT | CODED)[suffix]
    assert inspect(path) == (len(speech), 16000)
    assert suffix in EXTENSIONS


@pytest.mark.parametrize("suffix", [".flac", ".mp3"])
@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000])
def test_any_rate_comes_back_at_the_rate_asked_for(tmp_path, speech, suffix, rate):
    path = save(tmp_path / f"a{suffix}", at(speech, rate), rate)
    wave = load(Clip("a", str(path), rate=rate), 16000)
    assert abs(len(wave) - len(speech)) <= 1
    low = at(at(speech, 7000), 16000)[: len(wave)]  # the band that every one of these rates holds
    assert relative(at(at(wave, 7000), 16000)[: len(low)], low) < (0.01 if suffix == ".flac" else 0.15)


def test_channels_become_their_mean(tmp_path, speech):
    path = save(tmp_path / "a.flac", np.stack([speech, 0 * speech, -0.5 * speech], axis=1))
    assert relative(load(Clip("a", str(path)), 16000), speech / 6) < 1e-3


@pytest.mark.parametrize("suffix", [*EXACT, *CODED])
def test_a_part_of_a_file_is_the_slice(tmp_path, speech, suffix):
    path = save(tmp_path / f"a{suffix}", np.stack([speech, speech], axis=1))
    whole = load(Clip("a", str(path)), 16000)
    tolerance = {".mp3": 1e-6, ".opus": 0.02}.get(suffix, 0)  # Opus decoders converge after a seek
    for start, samples in ((0, 1000), (1, 30000), (62000, 500), (30001, 16000), (len(speech) - 5, 5)):
        part = load(Clip("a", str(path), start, samples, 16000), 16000)
        assert part.shape == (samples,)
        np.testing.assert_allclose(part, whole[start : start + samples], rtol=0, atol=tolerance)
    tail = load(Clip("a", str(path), 30001), 16000)
    np.testing.assert_allclose(tail, whole[30001:], rtol=0, atol=tolerance)


def test_a_part_at_the_end_of_an_ogg_file_is_the_slice(tmp_path, speech):
    # Near silence at 8 kHz takes few bytes, so the last page is long; it is not full either.
    quiet = np.float32(1e-4) * np.sin(0.1 * np.arange(240_000 - 77, dtype=np.float32))
    path = save(tmp_path / "a.ogg", np.concatenate([speech, quiet]), 8000)
    whole = load(Clip("a", str(path)), 8000)
    for length in (1, 400, 3000, 9000, 20000, 40000):
        part = load(Clip("a", str(path), len(whole) - length, length, 8000), 8000)
        np.testing.assert_array_equal(part, whole[-length:])


@pytest.mark.parametrize("suffix", [".flac", ".mp3", ".ogg", ".opus"])
@pytest.mark.parametrize("rate", [8000, 16000])
def test_blocks_side_by_side_are_the_whole_file(tmp_path, speech, suffix, rate, monkeypatch):
    path = save(tmp_path / f"a{suffix}", speech)
    whole = load(Clip("a", str(path)), rate)
    monkeypatch.setattr(audio, "_BLOCK", 5000)
    pieces = list(blocks(path, rate, 0.7))
    assert {len(piece) for piece in pieces[:-1]} == {round(0.7 * rate)}
    assert 0 < len(pieces[-1]) <= round(0.7 * rate)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_a_flac_that_does_not_say_how_long_it_is_is_read_to_its_end(tmp_path, speech):
    path = save(tmp_path / "a.flac", speech)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36 bits of STREAMINFO that hold the number of samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert inspect(path) == (len(speech), 16000)


def test_a_wav_that_was_streamed_is_read_to_its_end(tmp_path, speech):
    path = save(tmp_path / "a.wav", speech)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    path.write_bytes(content)
    assert inspect(path) == (len(speech), 16000)


def test_an_mp3_cut_out_of_a_stream_is_read(tmp_path, speech):
    path = save(tmp_path / "a.mp3", speech)
    path.write_bytes(bytes(700) + path.read_bytes())
    assert abs(inspect(path)[0] - len(speech)) <= 2 * 1152


def bad(tmp_path, kind, speech):
    path = tmp_path / kind
    whole = save(tmp_path / f"whole{path.suffix}", speech)
    content = whole.read_bytes()
    match path.stem:
        case "missing":
            pass
        case "folder":
            path.mkdir()
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_bytes(b"<html>404 Not Found</html>\n" * 100)
        case "half":
            path.write_bytes(content[: len(content) // 2])
        case "cut":
            path.write_bytes(content[:-1])
        case "nan":
            soundfile.write(path, np.where(np.arange(len(speech)) == 777, np.nan, speech), 16000, "FLOAT")
        case "infinite":
            soundfile.write(path, np.where(np.arange(len(speech)) == 777, np.inf, speech), 16000, "FLOAT")
        case "silent":
            soundfile.write(path, speech[:0], 16000)
    return path


BAD = [
    ("missing.wav", "No such file"),
    ("folder.wav", "is not a file"),
    ("empty.wav", "is empty, 0 bytes"),
    ("empty.mp3", "is empty, 0 bytes"),
    ("text.wav", "not audio"),
    ("text.mp3", "not audio, or damaged or truncated: Format not recognised"),
    ("half.wav", r"truncated: \d+ of 64000 samples"),
    ("half.aiff", r"truncated: 3\d+ of 6\d+ samples"),
    ("cut.wav", r"truncated: 63999 of 64000 samples"),
    ("half.flac", "damaged or truncated: Error : flac decoder lost sync"),
    ("cut.flac", "damaged or truncated"),
    ("nan.wav", "not finite"),
    ("infinite.wav", "not finite"),
    ("silent.wav", "has no samples"),
]


@pytest.mark.parametrize(("kind", "cause"), BAD)
def test_a_bad_file_is_one_line_with_file_cause_and_way_out(tmp_path, speech, kind, cause):
    path = bad(tmp_path, kind, speech)
    for use in (
        lambda: load(Clip("a", str(path)), 8000),
        lambda: inspect(path),
        lambda: list(blocks(path, 8000, 1.0)),
    ):
        with pytest.raises(AudioError, match=rf"^{path}: .*{cause}.* \(.+\)$") as raised:
            use()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".opus"])
def test_a_file_shorter_than_its_manifest_says_is_truncated(tmp_path, speech, suffix):
    path = save(tmp_path / f"a{suffix}", speech)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match=rf"^{path}: .*truncated"):
        load(Clip("a", str(path), 0, len(speech), 16000), 16000)


def test_a_clip_that_is_not_as_the_manifest_says_names_the_file(tmp_path, speech):
    path = save(tmp_path / "a.flac", speech)
    with pytest.raises(AudioError, match=rf"^{path}: has 16000 samples a second, the manifest says 8000"):
        load(Clip("a", str(path), rate=8000), 16000)
    with pytest.raises(AudioError, match=rf"^{path}: has 64000 samples, the clip starts at 200000"):
        load(Clip("a", str(path), 200000, 10, 16000), 16000)
    with pytest.raises(AudioError, match=rf"^{path}: truncated: 4000 of 50000 samples"):
        load(Clip("a", str(path), 60000, 50000, 16000), 16000)


def test_an_mp3_that_goes_on_behind_its_estimated_length_is_not_cut_in_silence(tmp_path, speech):
    wave = np.concatenate([speech, np.zeros(16000 * 120, np.float32)])
    path = tmp_path / "a.mp3"
    soundfile.write(path, wave, 16000, bitrate_mode="VARIABLE", compression_level=0.5)
    assert inspect(path) == (len(wave), 16000)
    content = path.read_bytes()
    index = content.index(b"Xing")
    header = content[:4]
    frame = content.index(header[:2], index)  # the first frame behind the index
    path.write_bytes(content[frame:])
    with pytest.raises(AudioError, match=rf"^{path}: goes on behind the length that its header says"):
        inspect(path)


def test_other_formats_are_read_by_ffmpeg(tmp_path, speech):
    av = pytest.importorskip("av")
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w") as container:
        track = container.add_stream("aac", rate=16000, layout="stereo")
        pair = np.stack([speech, 0 * speech]).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(pair, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 16000, 0
        for packet in [*track.encode(frame), *track.encode(None)]:
            container.mux(packet)
    samples, rate = inspect(path)
    assert rate == 16000
    assert 0 <= samples - len(speech) < 4096  # the codec fills its last frames
    whole = load(Clip("a", str(path)), 16000)
    assert relative(whole[: len(speech)], speech / 2) < 0.2
    part = load(Clip("a", str(path), 20000, 30000, 16000), 16000)
    np.testing.assert_array_equal(part, whole[20000:50000])
    path.write_bytes(b"not audio" * 100)
    with pytest.raises(AudioError, match=rf"^{path}: not audio"):
        inspect(path)


def test_without_ffmpeg_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.m4a").write_bytes(b"x")
    with pytest.raises(AudioError, match=r"pip install 'sonorant\[av\]'"):
        inspect(tmp_path / "a.m4a")


def test_a_long_file_is_inspected_and_read_in_little_memory(tmp_path):
    path = tmp_path / "a.wav"
    samples = 16000 * 60 * 30  # half an hour: 115 MB as float32, a sparse file of zeros on the disk
    header = b"RIFF" + struct.pack("<I", 36 + 2 * samples) + b"WAVEfmt "
    header += struct.pack("<IHHIIHHI", 16, 1, 1, 16000, 32000, 2, 16, 0)[:-4]
    with path.open("wb") as file:
        file.write(header + b"data" + struct.pack("<I", 2 * samples))
        file.truncate(44 + 2 * samples)
    tracemalloc.start()
    try:
        assert inspect(path) == (samples, 16000)
        assert sum(len(block) for block in blocks(path, 8000, 30.0)) == samples // 2
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()
