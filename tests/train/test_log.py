"""Guards a run's figures: the curve of a resumed run is the uninterrupted one's, and quiet is quiet."""

import json
import math
import sys
from dataclasses import replace

import pytest

from sonorant.train import log as module
from sonorant.train.log import Log, figures, read_metrics, truncate
from sonorant.train.loop import Step

STEP = Step(
    number=1,
    loss=2.5,
    count=7,
    metrics={"accuracy": 0.5},
    learning_rate=1e-3,
    gradient_norm=1.5,
    audio_seconds=30.0,
    seconds=0.5,
    waited=0.1,
    skipped=False,
)


def write(run, first: int, last: int, *, start: int = 0, **settings: object) -> None:
    with Log(run, total=20, start=start, every=2, **settings) as log:  # type: ignore[arg-type]
        for number in range(first, last + 1):
            log.step(replace(STEP, number=number, loss=1 / number, skipped=number == 7))
            if number % 5 == 0:
                log.row(number, {"validation/loss": 1.0})


def test_a_resumed_curve_is_the_uninterrupted_one(tmp_path):
    write(tmp_path / "whole", 1, 20)
    write(tmp_path / "cut", 1, 13)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 14, "lo')
    write(tmp_path / "cut", 11, 20, start=10)
    whole = (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert (tmp_path / "cut" / "metrics.jsonl").read_text() == whole
    steps = [row["step"] for row in read_metrics(tmp_path / "cut" / "metrics.jsonl")]
    assert steps == [2, 4, 5, 6, 7, 8, 10, 10, 12, 14, 15, 16, 18, 20, 20]


def test_a_row_holds_the_figures(tmp_path):
    write(tmp_path, 2, 2)
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert row == {"step": 2, **figures(STEP), "loss": 0.5}
    assert row["accuracy"] == 0.5
    assert row["skipped"] == 0


def test_what_is_not_finite_is_null(tmp_path):
    with Log(tmp_path, total=5) as log:
        log.row(1, {"loss": math.nan, "norm": math.inf})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": null, "norm": null}\n'


def test_rows_are_there_at_once(tmp_path):
    with Log(tmp_path, total=5) as log:
        log.row(1, {"loss": 1.0})
        assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


def test_truncating_nothing_makes_nothing(tmp_path):
    truncate(tmp_path / "metrics.jsonl", 3)
    assert not list(tmp_path.iterdir())


def test_a_line_now_and_then_where_there_is_no_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "LINE_EVERY", 0.0)
    write(tmp_path, 1, 3)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "step 1 of 20  loss 1.0000  60 s of audio a second"
    monkeypatch.setattr(module, "LINE_EVERY", 1e6)
    write(tmp_path, 1, 20)
    assert capsys.readouterr().err.splitlines() == [
        "step 20 of 20  loss 0.0500  60 s of audio a second  1 skipped"
    ]


def test_quiet_is_quiet(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "LINE_EVERY", 0.0)
    write(tmp_path, 1, 20, quiet=True)
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "metrics.jsonl").exists()


def test_tensorboard_is_written_if_it_is_installed(tmp_path):
    pytest.importorskip("tensorboard")
    write(tmp_path, 1, 4)
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_tensorboard_is_not_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    write(tmp_path, 1, 4)
    assert {each.name for each in tmp_path.iterdir()} == {"metrics.jsonl"}
