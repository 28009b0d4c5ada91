"""Guards what a run does when it collapses: it tells, goes on unless asked to stop, and loses nothing."""

import pytest

from sonorant.health import Sign
from sonorant.recipes import fit
from sonorant.train import checkpoint, watch
from sonorant.train.log import read_metrics

TOLD = "toy collapse: error 1 of it since step 1; do less"
STOP = "train.stop_on_collapse=true"


@pytest.fixture(autouse=True)
def always_ill(monkeypatch):
    """A sign that every run shows from its third step on."""
    monkeypatch.setattr(watch, "WINDOW", 3)
    sign = Sign("toy collapse", "error", 1e9, "error 1 of it", "do less", after=0)
    monkeypatch.setattr(fit, "ENCODER", (sign,))


def diagnoses(run):
    rows = read_metrics(run / "metrics.jsonl")
    return [(row["step"], row["diagnosis"]) for row in rows if "diagnosis" in row]


def test_a_collapse_is_told_and_training_goes_on(tmp_path, sonorant, tiny):
    done = sonorant("pretrain", tiny, f"out={tmp_path / 'run'}")
    assert done.code == 0
    assert f"step 3: {TOLD}" in done.err.splitlines()
    assert diagnoses(tmp_path / "run") == [(3, TOLD)]


def test_a_run_that_should_stop_stops_and_can_go_on_to_the_same_weights(tmp_path, sonorant, tiny):
    words = ["pretrain", tiny, "-q", "train.keep=1"]
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    for _ in range(2):  # the same command again does not go on by itself
        done = sonorant(*words, f"out={stopped}", STOP)
        assert done.code == 1
        assert f"{stopped}: {TOLD}. Stopped at step 3" in done.err.splitlines()[-1]
        assert [each.name for each in checkpoint.checkpoints(stopped)] == ["step_0000002", "step_0000003"]
    assert sonorant(*words, f"out={stopped}").code == 0
    assert sonorant(*words, f"out={whole}").code == 0
    for name in ("encoder", "objective", "optimizer"):
        files = [checkpoint.latest(run) / f"{name}.safetensors" for run in (stopped, whole)]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert diagnoses(stopped) == diagnoses(whole) == [(3, TOLD)]
