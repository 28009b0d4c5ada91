"""Guards runs of several processes: however they are started, whatever they lose, they give the same bits."""

import json
import os
import shutil
import socket
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
from sonorant.train import checkpoint
from sonorant.train.log import read_metrics
from sonorant.train.processes import together

SCRIPTS = Path(__file__).parents[2] / "scripts"
STEPS = [f"step_{step:07d}" for step in (2, 4, 6)]
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


def started(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program with these words, whose exit code has to be 0."""
    environment = {**os.environ, "PYTHON": sys.executable, **environment}
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done


def figures(run: Path) -> list[dict[str, float]]:
    rows = read_metrics(run / "metrics.jsonl")
    return [{key: row[key] for key in row if key not in ("seconds", "waited")} for row in rows]


def assert_same(run: Path, other: Path) -> None:
    """The same figures, steps and tensors."""
    assert figures(run) == figures(other)
    assert [each.name for each in checkpoint.checkpoints(run)] == STEPS
    folders = [checkpoint.checkpoints(each) for each in (run, other)]
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
    done = started(sys.executable, "-m", "sonorant", *words, f"out={out}", "train.processes=2", "--json")
    assert json.loads(done.stdout) == {"run": str(out), "best": str(out / "step_0000006")}
    rows = figures(out)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert max(row["audio_seconds"] for row in rows) > 8  # more than a batch holds: both processes had one
    return out


def test_torchrun_goes_on_after_a_lost_rank(tmp_path, words, undisturbed):
    out, script = tmp_path / "run", tmp_path / "mortal.py"
    script.write_text(MORTAL)
    done = started(sys.executable, *TORCHRUN, "--max-restarts", "1", script, *words, f"out={out}", "--json")
    assert json.loads(done.stdout) == {"run": str(out), "best": str(out / "step_0000006")}
    assert done.stderr.count("40 utterances") == 2  # two lives, in which one process of two speaks
    assert done.stderr.count("failed (exitcode: -9) local_rank: 1") == 1
    assert_same(out, undisturbed)


def test_rank_0_alone_reads_and_writes(tmp_path, words, undisturbed):
    """As on a disk that machines share, where rank 1 does not see yet what rank 0 wrote."""
    here, elsewhere = shutil.copytree(undisturbed, tmp_path / "here"), tmp_path / "elsewhere"
    shutil.rmtree(here / STEPS[-1])
    (here / f"{STEPS[-1]}.partial").mkdir()
    config = convert(load(Path(words[1]), [*words[2:], "train.processes=2"]), PretrainConfig)
    first, other = (msgspec.structs.replace(config, out=str(out)) for out in (here, elsewhere))
    with together(2, partial(pretrain, other, quiet=True)):
        assert pretrain(first, quiet=True) == here / STEPS[-1]
    assert_same(here, undisturbed)
    assert not elsewhere.exists()


def test_the_script_for_one_machine_runs(tmp_path, words, undisturbed):
    out = tmp_path / "run"
    done = started(SCRIPTS / "one_machine.sh", *words, f"out={out}", PROCESSES="2")
    assert done.stdout == f"best checkpoint: {out / STEPS[-1]}\n"
    assert_same(out, undisturbed)


def test_the_script_for_slurm_runs_where_slurm_is_played(tmp_path, words, undisturbed):
    """Two machines of one process each, both of them here; what Slurm would start is started by hand."""
    plays = {
        "scontrol": 'echo "$*" >> "$PLAYED"; printf "127.0.0.1\\nnone.invalid\\n"',
        "srun": '"$@" & "$@" & wait -n && wait -n',
    }
    for name, body in plays.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "machine[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    place = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PLAYED": str(tmp_path / "played"), "PORT": port}
    out = tmp_path / "run"
    started(SCRIPTS / "slurm.sh", *words, f"out={out}", PROCESSES="1", **job, **place)
    assert (tmp_path / "played").read_text() == "show hostnames machine[1-2]\n"
    assert_same(out, undisturbed)
