"""Guards transcripts of files and of manifests, and that a file which gives none is named."""

import json
import re

import numpy as np
import pytest
import soundfile

from sonorant.data.manifest import read


@pytest.fixture
def wave(tmp_path, clip):
    """A stereo WAV file at another rate than the recogniser's."""
    samples, rate = soundfile.read(clip.path)
    path = tmp_path / "speech.wav"
    soundfile.write(path, np.stack([samples, samples], 1), rate // 2)
    return path


def test_text_subtitles_and_json_say_the_same(sonorant, finetuned, wave):
    text = sonorant("transcribe", finetuned, wave)
    assert text.code == 0
    told = sonorant("transcribe", finetuned, wave, "--format", "json").json
    assert " ".join(text.out.split()) == told["text"] == " ".join(word["text"] for word in told["words"])
    length = soundfile.info(wave).duration
    assert told["words"]
    assert all(0 <= word["start"] < word["end"] <= length + 0.04 for word in told["words"])
    srt = sonorant("transcribe", finetuned, wave, "--format", "srt", "--beam", "4")
    assert re.match(r"1\n\d\d:\d\d:\d\d,\d{3} --> \d\d:\d\d:\d\d,\d{3}\n.+\n", srt.out)


def test_transcripts_go_to_a_folder(tmp_path, sonorant, finetuned, wave, few):
    out = tmp_path / "transcripts"
    done = sonorant("transcribe", finetuned, wave, few, "--out", out)
    assert done.out.splitlines() == [str(out / "speech.txt"), str(out / "few-hypotheses.jsonl")]
    assert (out / "speech.txt").read_text() == sonorant("transcribe", finetuned, wave).out


def test_a_manifest_gives_hypotheses_beside_references(sonorant, finetuned, few):
    done = sonorant("transcribe", finetuned, few)
    rows = [json.loads(line) for line in done.out.splitlines()]
    clips = read(few)
    assert [(row["id"], row["path"]) for row in rows] == [(clip.id, clip.path) for clip in clips]
    assert all(row["reference"] and isinstance(row["hypothesis"], str) for row in rows)
    assert all(row["reference"] == row["reference"].lower() for row in rows)
    assert re.fullmatch(
        r"real-time factor [\d.]+, CER [\d.]+%, WER [\d.]+% over 40 clips with a text\n", done.err
    )


def test_a_checkpoint_of_a_run_is_a_recogniser_too(sonorant, finetuned, wave):
    whole = sonorant("transcribe", finetuned, wave)
    assert sonorant("transcribe", finetuned / "step_0000006", wave).out == whole.out


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("missing", "No such file or directory"),
        ("empty", "is empty, 0 bytes"),
        ("truncated", "truncated"),
        ("text", "not audio"),
        ("infinite", "not finite numbers"),
        ("folder", "is not a file"),
    ],
)
def test_a_file_without_usable_audio_is_named(tmp_path, sonorant, finetuned, wave, name, cause):
    path = tmp_path / f"{name}.wav"
    if name == "empty":
        path.touch()
    elif name == "truncated":
        path.write_bytes(wave.read_bytes()[:-2000])
    elif name == "text":
        path.write_text("This is not audio. " * 99)
    elif name == "infinite":
        samples = np.zeros(16000, np.float32)
        samples[9000] = np.nan
        soundfile.write(path, samples, 16000, subtype="FLOAT")
    elif name == "folder":
        path.mkdir()
    done = sonorant("transcribe", finetuned, path)
    assert (done.code, done.out) == (2, "")
    assert done.line.startswith(f"sonorant: {path}: ")
    assert cause in done.line


def test_a_clip_too_short_for_one_frame_says_nothing(tmp_path, sonorant, finetuned):
    path = tmp_path / "click.wav"
    soundfile.write(path, np.zeros(100), 16000)
    assert sonorant("transcribe", finetuned, path, "--format", "json").json == {"text": "", "words": []}


def test_what_transcribes_nothing_is_refused(tmp_path, sonorant, finetuned, pretrained, wave):
    (tmp_path / "other").mkdir()
    for words, told in (
        ([pretrained, wave], f"{pretrained}: a pretraining run; fine-tune it first"),
        ([tmp_path, wave], f"{tmp_path}: no checkpoint here"),
        ([finetuned, wave, "--format", "pdf"], "format: 'pdf' is not one of text, srt, json"),
        ([finetuned, wave, tmp_path / "other" / "speech.flac"], "would have the same name"),
        ([finetuned, tmp_path / "none.jsonl"], "none.jsonl: cannot be read"),
    ):
        done = sonorant("transcribe", *words)
        assert (done.code, told in done.line) == (2, True), done
