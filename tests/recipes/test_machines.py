"""Guards runs of several processes: however they are started, and whatever they lose on the way, they end with
the same bits."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from sonorant.config import convert, load
from sonorant.recipes.pretrain import pretrain
from sonorant.recipes.settings import PretrainConfig
from sonorant.train import checkpoint, distributed
from sonorant.train.log import read_metrics
from sonorant.train.processes import together

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SETTINGS = ["train.steps=6", "train.checkpoint_every=2", "train.keep=9", "train.ema=0.9"]
LOST = 5  # the step after which a rank is killed

# Runs the command line; in its first life, rank 1 is killed once step `LOST` is done.
MORTAL = f"""
import os, signal
from sonorant.cli import main
from sonorant.train.log import Log

seen = Log.step

def step(self, step):
    seen(self, step)
    lives = os.environ["TORCHELASTIC_RESTART_COUNT"]
    if step.number == {LOST} and (lives, os.environ["RANK"]) == ("0", "1"):
        os.kill(os.getpid(), signal.SIGKILL)

Log.step = step
main()
"""


def started(*words: object) -> subprocess.CompletedProcess[str]:
    """Python with these words, whose exit code has to be 0."""
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def figures(run: Path) -> list[dict[str, float]]:
    rows = read_metrics(run / "metrics.jsonl")
    return [{key: row[key] for key in row if key not in ("seconds", "waited")} for row in rows]


def assert_same(run: Path, other: Path) -> None:
    """The same figures, steps and tensors."""
    assert figures(run) == figures(other)
    folders = [checkpoint.checkpoints(each) for each in (run, other)]
    assert [[each.name for each in found] for found in folders] == [
        ["step_0000002", "step_0000004", "step_0000006"]
    ] * 2
    for mine, reference in zip(*folders, strict=True):
        assert checkpoint.read_state(mine) == checkpoint.read_state(reference)
        for file in reference.glob("*.safetensors"):
            values, expected = load_file(mine / file.name), load_file(file)
            assert values.keys() == expected.keys()
            assert all(torch.equal(values[name], expected[name]) for name in expected)


@pytest.fixture(scope="module")
def words(tiny) -> list[str]:
    return ["pretrain", str(tiny), *SETTINGS]


@pytest.fixture(scope="module")
def undisturbed(place, words) -> Path:
    """A run of two processes that were started here."""
    out = place / "undisturbed"
    done = started("-m", "sonorant", *words, f"out={out}", "train.processes=2", "--json")
    assert json.loads(done.stdout) == {"run": str(out), "best": str(out / "step_0000006")}
    rows = figures(out)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert max(row["audio_seconds"] for row in rows) > 8  # more than a batch holds: both processes had one
    return out


def test_torchrun_goes_on_after_a_lost_rank(tmp_path, words, undisturbed):
    out, script = tmp_path / "run", tmp_path / "mortal.py"
    script.write_text(MORTAL)
    done = started(*TORCHRUN, "--max-restarts", "1", script, *words, f"out={out}", "--json")
    assert json.loads(done.stdout) == {"run": str(out), "best": str(out / "step_0000006")}
    assert done.stderr.count("40 utterances") == 2  # two lives, in which one process of two speaks
    assert done.stderr.count("failed (exitcode: -9) local_rank: 1") == 1
    assert_same(out, undisturbed)
