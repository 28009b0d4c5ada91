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
        ("folder", "has no audio files"),
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
        ([finetuned, wave, "--format", "pdf"], "format: 'pdf' is not one of text, srt, vtt, json, ctm"),
        ([finetuned, wave, tmp_path / "other" / "speech.flac"], "would have the same name, speech"),
        ([finetuned, tmp_path / "none.jsonl"], "none.jsonl: cannot be read"),
    ):
        done = sonorant("transcribe", *words)
        assert (done.code, told in done.line) == (2, True), done


@pytest.fixture
def folder(tmp_path, clip):
    """Three files in a folder and below it, of which one is broken."""
    samples, rate = soundfile.read(clip.path)
    place = tmp_path / "talks"
    for name in ("one.wav", "2024/one.flac", "2024/may/two.wav"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place / name, samples, rate)
    (place / "2024" / "broken.wav").write_text("This is not audio. " * 99)
    (place / "notes.txt").write_text("not audio either")
    return place


def test_a_folder_keeps_its_places_and_goes_on_behind_a_broken_file(tmp_path, sonorant, finetuned, folder):
    out = tmp_path / "out"
    done = sonorant("transcribe", finetuned, folder, "--out", out, "--format", "ctm")
    assert done.code == 1
    names = ["2024/may/two.ctm", "2024/one.ctm", "one.ctm"]
    assert done.out.splitlines() == [str(out / name) for name in names]
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == names
    said = [(out / name).read_text().splitlines() for name in names]
    assert said[0]
    assert said[0][0].startswith("2024/may/two 1 ")
    assert [[row.split()[1:] for row in each] for each in said] == [[row.split()[1:] for row in said[0]]] * 3
    skipped, count = done.err.splitlines()
    assert skipped.startswith(f"skipped {folder / '2024' / 'broken.wav'}: not audio")
    assert count == "1 could not be read, the others are done"


def test_files_of_a_folder_that_are_printed_are_named(sonorant, finetuned, folder):
    (folder / "2024" / "broken.wav").unlink()
    done = sonorant("transcribe", finetuned, folder)
    assert done.code == 0
    assert done.err.splitlines() == [
        f"{folder / name}:" for name in ("2024/may/two.wav", "2024/one.flac", "one.wav")
    ]


def test_what_is_done_stays_when_the_rest_fails(tmp_path, monkeypatch, sonorant, finetuned, folder):
    out = tmp_path / "out"
    out.mkdir()
    (out / "one.txt").write_text("of an earlier run")
    assert sonorant("transcribe", finetuned, folder, "--out", out).code == 1
    before = {path: path.read_text() for path in out.rglob("*.txt")}
    assert len(before) == 3
    assert before[out / "one.txt"] != "of an earlier run"

    def full(self, content, **_):
        with self.open("w", encoding="utf8") as file:
            file.write(content[:3])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr("pathlib.Path.write_text", full)
    assert sonorant("transcribe", finetuned, folder, "--out", out).code == 1
    assert {path: path.read_text() for path in out.rglob("*.txt")} == before


def test_names_that_clash_and_folders_without_audio_are_told(tmp_path, sonorant, finetuned, folder):
    (folder / "one.flac").write_bytes((folder / "2024" / "one.flac").read_bytes())
    done = sonorant("transcribe", finetuned, folder)
    assert (done.code, done.out) == (2, "")
    assert f"{folder / 'one.flac'} and {folder / 'one.wav'}: " in done.line
    (tmp_path / "empty").mkdir()
    done = sonorant("transcribe", finetuned, tmp_path / "empty")
    assert (done.code, "empty: has no audio files" in done.line) == (2, True)
