"""Guards pretraining runs: they continue bit for bit, keep their best checkpoint and refuse what is wrong."""

import errno
import json
import signal
import subprocess
import sys
import time

import pytest

from sonorant.train import checkpoint
from sonorant.train.log import read_metrics

WALL_TIME = ("seconds", "waited")


def figures(run):
    """The rows of metrics.jsonl without wall times."""
    rows = read_metrics(run / "metrics.jsonl")
    return [{key: value for key, value in row.items() if key not in WALL_TIME} for row in rows]


def content(folder):
    """The files of a checkpoint; but for `out`, which is where the run lies."""
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    return files | {"config.json": json.loads(files["config.json"]) | {"out": None}}


def steps(run):
    return [int(folder.name.removeprefix("step_")) for folder in checkpoint.checkpoints(run)]


def test_a_run_tells_its_figures_and_keeps_its_best_checkpoint(pretrained):
    rows = figures(pretrained)
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]
    measured = {row["step"]: row for row in rows if "score" in row}
    assert list(measured) == [2, 4, 6]
    assert all(row["validation_loss"] > 0 and row["score_layer"] in (0, 1) for row in measured.values())
    assert all(row["score_low"] <= row["score"] <= row["score_high"] for row in measured.values())
    state = checkpoint.read_state(checkpoint.latest(pretrained))
    best = max(measured.values(), key=lambda row: row["score"])
    assert (state.best, state.best_step) == (best["score"], best["step"])
    assert set(steps(pretrained)) == {state.best_step, 6}
    assert not (pretrained / "scoring").exists()


def test_the_lowest_validation_loss_is_the_best_where_nothing_is_scored(tmp_path, sonorant, tiny, few):
    out = tmp_path / "run"
    done = sonorant("pretrain", tiny, f"out={out}", f"data.validation={few}", "--json", "-q")
    losses = {row["step"]: row["validation_loss"] for row in figures(out) if "validation_loss" in row}
    best = min(losses, key=lambda step: losses[step])
    assert done.json == {"run": str(out), "best": str(out / f"step_{best:07d}")}


@pytest.mark.parametrize(("second", "ended"), [(0.55, 4), (0.65, 6)])
def test_training_ends_when_the_score_rises_no_more_beyond_its_interval(
    tmp_path, sonorant, tiny, scored, monkeypatch, second, ended
):
    def score(encoder, config, clips, folder, step):
        value = {2: 0.5, 4: second, 6: 0.7}[step]
        return {"score": value, "score_low": value - 0.1, "score_high": value + 0.1, "score_layer": 0.0}

    monkeypatch.setattr("sonorant.recipes.pretrain._score", score)
    words = ["pretrain", tiny, f"out={tmp_path / 'run'}", *scored, "score.patience=1"]
    done = sonorant(*words)
    assert f"ended at step {ended} of 6" in done.err  # within the interval of 0.65, 0.7 is no rise either
    state = checkpoint.read_state(checkpoint.latest(tmp_path / "run"))
    assert (state.step, state.best_step, state.waited) == (ended, ended, 1)
    assert figures(tmp_path / "run")[-1]["step"] == ended
    before = content(checkpoint.latest(tmp_path / "run"))
    assert sonorant(*words, "-q").code == 0
    assert content(checkpoint.latest(tmp_path / "run")) == before


def test_a_finished_run_stays_as_it_is_even_when_it_is_moved(tmp_path, sonorant, tiny, scored):
    out = tmp_path / "run"
    first = sonorant("pretrain", tiny, f"out={out}", *scored, "-q")
    before, rows = content(checkpoint.latest(out)), figures(out)
    moved = out.rename(tmp_path / "moved")
    again = sonorant("pretrain", tiny, f"out={moved}", *scored, "-q")
    assert (again.code, again.out) == (0, first.out.replace(str(out), str(moved)))
    assert content(checkpoint.latest(moved)) == before
    assert figures(moved) == rows


def test_other_settings_in_the_same_folder_are_refused(pretrained, sonorant, tiny, scored):
    done = sonorant("pretrain", tiny, f"out={pretrained}", *scored, "train.steps=7", "seed=3", "-q")
    assert done.code == 2
    assert f"{pretrained}: was begun with other settings: seed was 0, now 3; train.steps was 6" in done.line
    assert figures(pretrained)[-1]["step"] == 6


def test_checkpoints_by_share_are_evenly_spread(tmp_path, sonorant, tiny):
    words = ["train.steps=11", "train.checkpoint_every=0.2", "train.keep=9", "-q"]
    assert sonorant("pretrain", tiny, f"out={tmp_path / 'run'}", *words).code == 0
    names = {each.name for each in (tmp_path / "run").glob("step_*")}
    assert names == {f"step_{step:07d}" for step in (3, 6, 9, 11)}


def test_a_killed_run_continues_to_the_same_bits(tmp_path, sonorant, tiny, few):
    words = ["pretrain", str(tiny), f"data.validation={few}", "data.workers=2", "train.accumulate=2", "-q"]
    words += ["train.steps=12", "train.checkpoint_every=4", "train.ema=0.9"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert sonorant(*words, f"out={whole}").code == 0
    process = subprocess.Popen([sys.executable, "-m", "sonorant", *words, f"out={killed}"])
    limit = time.monotonic() + 60
    while not killed.exists() or checkpoint.latest(killed) is None:
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    begun = steps(killed)
    assert begun
    assert max(begun) < 12
    assert sonorant(*words, f"out={killed}").code == 0
    assert figures(killed) == figures(whole)
    assert steps(killed) == steps(whole)
    assert content(checkpoint.latest(killed)) == content(checkpoint.latest(whole))


def test_a_full_disk_is_a_failure_that_spares_the_checkpoint_before(tmp_path, monkeypatch, sonorant, tiny):
    words = ["pretrain", tiny, f"out={tmp_path / 'run'}", "-q"]
    write = checkpoint.save_file

    def full(tensors, file):
        if "step_0000004" in str(file):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(tensors, file)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        done = sonorant(*words)
    assert done.code == 1
    assert "No space left on device; step_0000002 is whole, resume from it" in done.line
    assert [each.name for each in (tmp_path / "run").glob("step_*")] == ["step_0000002"]
    assert sonorant(*words).code == 0
    assert sonorant("pretrain", tiny, f"out={tmp_path / 'whole'}", "-q").code == 0
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")


def test_a_run_that_diverges_is_a_failure(tmp_path, sonorant, tiny):
    wild = ["train.steps=40", "train.schedule={peak: 1.0e+30, warmup: 0}", "train.optimizer.clip=null"]
    done = sonorant("pretrain", tiny, f"out={tmp_path / 'run'}", *wild, "-q")
    assert done.code == 1
    assert "the gradient was not finite, 20 steps in a row" in done.line


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch, sonorant, tiny):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sonorant.recipes.pretrain.fit", interrupted)
        done = sonorant("pretrain", tiny, f"out={tmp_path / 'run'}", "-q")
    assert done.code == 130
    assert done.err == "interrupted; the same command goes on from the last checkpoint\n"


def test_minutes_become_steps_once(tmp_path, sonorant, tiny):
    out = tmp_path / "run"
    words = ["pretrain", tiny, f"out={out}", "train.steps=null", "train.minutes=0.02", "-q"]
    assert sonorant(*words).code == 0
    state = checkpoint.read_state(checkpoint.latest(out))
    assert state.step == state.total > 1
    assert sum(row["seconds"] for row in read_metrics(out / "metrics.jsonl")) < 30 * 1.2
    rows = figures(out)
    assert sonorant(*words).code == 0
    assert checkpoint.read_state(checkpoint.latest(out)) == state
    assert figures(out) == rows


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train.stepz=3"], "train.stepz: unknown key"),
        (["train.steps=many"], "train.steps: expected int | null, got str: 'many'"),
        (["train.steps=0"], "train: steps and minutes are above 0"),
        (["train.minutes=1"], "train: give either steps or minutes"),
        (["train"], "'train': expected key.path=value"),
        (["train.steps.first=1"], "train.steps.first: 'steps' holds a value"),
        (["data={batch_seconds: 8}"], "data.manifest: required, but not given"),
        (["data.rate=8000"], "data.rate: 8000, but the front end expects 16000"),
        (["data.min_seconds=1000"], "none of 40 clips has 1000.0 s"),
        (["encoder.context.dim=0"], "encoder.context.dim: expected int >= 1"),
        (
            ["encoder.context={name: transformer, dim: 16, layers: 1, heads: 3}"],
            "encoder.context: heads 3 must divide dim 16",
        ),
        (["encoder.context.name=elman"], "encoder.context.name: invalid value 'elman'"),
        (["objective.name=none"], "objective.name: 'none' is not one of "),
        (["objective.shift=far"], "objective.shift: expected int, got str: 'far'"),
        (["objective={name: best_rq, projection: pca, code_dim: 500}"], "objective: code_dim: 500"),
        (["encoder.context.bidirectional=true"], "objective: apc: "),
        (["score.manifest=none.jsonl"], "none.jsonl: cannot be read: No such file or directory"),
        (["score.minutes=0.01"], "score.manifest: 1 utterances of 1 groups do not fill three parts"),
        (["score.layers=[frontend]"], "score.layers: 'frontend' is not one of layer_0, layer_1"),
    ],
    ids=lambda value: value[0].partition("=")[0] if isinstance(value, list) else "",
)
def test_a_wrong_setting_is_named_before_anything_is_written(tmp_path, sonorant, tiny, scored, words, told):
    out = tmp_path / "run"
    done = sonorant("pretrain", tiny, f"out={out}", *scored, *words)
    assert done.code == 2
    assert done.line.startswith(f"sonorant: {told}")
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "has no clips"),
        ('{"id": "a", "path": "a.flac", "rat": 16000}\n', "contains unknown field rat"),
        ('{"id": "a"\n', "not a JSON object"),
    ],
    ids=["missing", "empty", "unknown", "broken"],
)
def test_a_wrong_manifest_is_named(tmp_path, sonorant, tiny, content, told):
    path = tmp_path / "list.jsonl"
    if content is not None:
        path.write_text(content)
    done = sonorant("pretrain", tiny, f"out={tmp_path / 'run'}", f"data.manifest={path}")
    assert done.code == 2
    assert str(path) in done.line
    assert told in done.line


def test_a_configuration_that_is_not_there_is_named(tmp_path, sonorant):
    assert "'nosuch': neither a .yaml file nor one of apc" in sonorant("pretrain", "nosuch").line
    missing = sonorant("pretrain", tmp_path / "nosuch.yaml")
    assert (missing.code, f"{tmp_path / 'nosuch.yaml'}: cannot be read" in missing.line) == (2, True)
    (tmp_path / "list.yaml").write_text("[1]")
    assert "expected a mapping" in sonorant("pretrain", tmp_path / "list.yaml").line


def test_a_file_in_the_place_of_the_run_is_named(tmp_path, sonorant, tiny):
    (tmp_path / "run").write_text("taken")
    done = sonorant("pretrain", tiny, f"out={tmp_path / 'run'}", "-q")
    assert done.code == 2
    assert f"{tmp_path / 'run'}: File exists" in done.line
