"""Guards the demo: on a small corpus it goes the whole way, tells its figures, and trains nothing twice."""

import functools
import json

import msgspec
import pytest
import yaml

from sonorant.data.manifest import read, write
from sonorant.evaluate.rows import read_rows
from sonorant.recipes import demo as module
from sonorant.recipes import shipped
from sonorant.recipes.demo import run_demo, summary

PRETRAINING = {
    "seed": 0,
    "out": "replaced",
    "data": {"batch_seconds": 8, "crop_seconds": 2, "workers": 0},
    "encoder": {
        "frontend": {"name": "log_mel", "mels": 20, "stack": 2},
        "context": {"name": "lstm", "dim": 16, "layers": 2},
    },
    "objective": {"name": "apc"},
    "score": {"information": {"codes": 8, "updates": 20, "frames": 1000}},
    "train": {"checkpoint_every": 0.5, "keep": 1, "schedule": {"peak": 1e-3}},
}
FINETUNING = {
    "seed": 0,
    "out": "replaced",
    "data": {"batch_seconds": 20, "crop_seconds": None, "workers": 0},
    "objective": {"time_mask_probability": 0.0, "channel_mask_probability": 0.0},
    "train": {"schedule": {"peak": 1e-3}},
}


def spelled(clip):
    """The clip with its letters as units, evenly spread."""
    letters = [letter for letter in clip.text.lower() if letter.isalpha()]
    step = clip.seconds / len(letters)
    units = [(letter, place * step, (place + 1) * step) for place, letter in enumerate(letters)]
    return msgspec.structs.replace(clip, units=units)


@pytest.fixture
def corpus(tmp_path, speech, monkeypatch):
    """The parts of a corpus that the demo reads, and settings that take a second."""
    clips = [clip for clip in read(speech) if clip.language in ("en", "fr")]
    train, held_out = clips[::2], clips[1::2]
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, part in (
        ("all", clips),
        ("untranscribed", train),
        ("paired-10m", train),
        ("dev", held_out),
        ("test", held_out),
        ("paired-1h-phones", [spelled(clip) for clip in train]),
        ("test-phones", [spelled(clip) for clip in held_out]),
    ):
        write(folder / f"{name}.jsonl", part)
    for name, settings in (("demo_pretrain", PRETRAINING), ("demo_finetune", FINETUNING)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    for name in ("InformationConfig", "ProbeConfig"):
        small = functools.partial(getattr(module, name), updates=20, frames=1000)
        monkeypatch.setattr(module, name, small)
    monkeypatch.setattr(module, "RATES", (1e-2,))
    return folder


def figures(rows):
    return {(row.subject, row.metric): row.value for row in rows if row.task != "time" and row.seconds is None
            and row.metric != "real-time factor"}  # fmt: skip


def test_the_whole_way(corpus, tmp_path, capsys):
    out = tmp_path / "run"
    rows = run_demo(corpus, out, minutes=0.02, seed=3)
    found = {(row.subject, row.metric) for row in rows}
    layers = ["trained layer_0", "trained layer_1"]
    probed = ["log-mel", "log-mel stacked", *layers]
    assert {(name, "accuracy") for name in probed} <= found
    assert {(f"{layer}{what}", "nats") for layer in layers for what in ("", ", shuffled")} <= found
    assert sum(subject.startswith("untrained layer_") for subject, _ in found) == 5  # score, control, probe
    recognition = {("finetuned", "CER"), ("scratch", "CER"), ("finetuned", "WER"), ("scratch", "WER")}
    assert recognition <= found
    assert {("finetuned", "real-time factor"), ("scratch", "real-time factor")} <= found
    assert sum(row.task == "time" for row in rows) == 8
    assert {row.seed for row in rows} == {3}
    assert read_rows(out / "results.jsonl") == rows

    for name in ("finetuned", "scratch"):
        lines = (out / name / "hypotheses.jsonl").read_text().splitlines()
        assert len(lines) == 24
        config = next((out / name).glob("step_*/config.json"))
        assert json.loads(config.read_text())["from_scratch"] == (name == "scratch")
    page = (out / "report.html").read_text()
    assert all(row.subject in page for row in rows)
    table = summary(rows)
    assert table.count("CER") == 2
    assert "bits" not in table

    said = capsys.readouterr().err
    assert said.count("== ") == 8
    again = run_demo(corpus, out, minutes=0.02, seed=3)
    assert figures(again) == figures(rows)  # nothing is trained twice
