"""Guards recognition of audio that nobody would choose: none, silence, noise, other rates, hours of it."""

import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from sonorant.asr.transcribe import TranscribeConfig, transcribe
from sonorant.recipes.recognise import load_recogniser

RATE = 16000
NOISE = np.random.default_rng(0).standard_normal(3 * RATE)
STRANGE = {
    "silent": np.zeros(3 * RATE),
    "nearly silent": NOISE / 2**15,
    "noise": 0.1 * NOISE,
    "clipped": np.sign(NOISE),
    "offset": np.full(3 * RATE, 0.9),
    "click": np.eye(1, 3 * RATE)[0],
    "one frame": 0.1 * NOISE[:880],
}


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("name", STRANGE)
def test_strange_audio_has_words_with_times_and_confidences_or_none(
    tmp_path, sonorant, finetuned, name, rate
):
    path = tmp_path / "strange.wav"
    soundfile.write(path, STRANGE[name], rate, subtype="FLOAT")
    done = sonorant("transcribe", finetuned, path, "--format", "json")
    assert (done.code, done.err) == (0, "")
    for word in done.json["words"]:
        assert word["text"].strip()
        assert 0 <= word["start"] < word["end"] <= len(STRANGE[name]) / rate + 0.04
        assert math.isfinite(word["confidence"])
        assert 0 < word["confidence"] <= 1
    searched = sonorant("transcribe", finetuned, path, "--format", "ctm", "--beam", "4")
    assert (searched.code, "nan" in searched.out) == (0, False)


@pytest.mark.parametrize("samples", [1, 100])
def test_audio_shorter_than_a_frame_has_no_words(tmp_path, sonorant, finetuned, samples):
    path = tmp_path / "short.wav"
    soundfile.write(path, NOISE[:samples], RATE, subtype="FLOAT")
    for form, empty in (("text", ""), ("srt", ""), ("vtt", "WEBVTT\n"), ("ctm", "")):
        done = sonorant("transcribe", finetuned, path, "--format", form)
        assert (done.code, done.out) == (0, empty)


def test_a_file_with_a_header_and_no_samples_is_named(tmp_path, sonorant, finetuned):
    path = tmp_path / "empty.wav"
    soundfile.write(path, np.zeros(0), RATE)
    done = sonorant("transcribe", finetuned, path)
    assert (done.code, f"{path}: has no samples" in done.line) == (2, True)


def test_memory_is_that_of_a_stretch_however_long_the_file(tmp_path, finetuned, clip):
    samples, rate = soundfile.read(clip.path, dtype="float32")
    recogniser, seen = load_recogniser(finetuned), []

    def watched(inputs):
        seen.append(inputs.values.shape[1])
        return recogniser.log_probabilities(inputs)

    config = TranscribeConfig(chunk_seconds=4.0, margin_seconds=0.5, window_seconds=4.0)
    peaks = []
    for seconds in (12, 60):
        path = tmp_path / f"{seconds}.flac"
        soundfile.write(path, np.resize(samples, seconds * rate), rate)
        tracemalloc.start()
        try:
            found = transcribe(path, replace(recogniser, log_probabilities=watched), config)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert found.words[-1].end > seconds - 5
    assert max(seen) == 4 * RATE
    assert peaks[1] < 1.25 * peaks[0]
