"""Guards checkpoints: resuming is bitwise, an interrupted or failed save costs nothing, misfits are named."""

import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from training_stub import Denoise, Pointwise, Run, config, objective

from sonorant.train import checkpoint
from sonorant.train.average import Average
from sonorant.train.checkpoint import CheckpointError, State
from sonorant.train.loop import Epochs
from sonorant.train.optim import adamw

CONFIG = {"seed": 1, "train": {"steps": 9}}


def save(folder: Path, run: Run, step: int) -> Path:
    state = State(step=step, total=9, epoch=run.epochs.epoch, batch=run.epochs.batch)
    return checkpoint.save(
        folder,
        state,
        objective=run.objective,
        optimizer=run.optimizer,
        average=run.average,
        config=CONFIG,
    )


def resume(path: Path, run: Run) -> int:
    state = checkpoint.load(path, objective=run.objective, optimizer=run.optimizer, average=run.average)
    run.epochs = Epochs(run.epochs._batches, state.epoch, state.batch)
    return state.step


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9}, {"accumulate": 2}, {"precision": "bf16"}])
@pytest.mark.parametrize("at", [3, 5, 7])
def test_resuming_is_bitwise(tmp_path, at, settings):
    whole = Run(config(**settings))
    expected = whole.train(0, 9)
    first = Run(config(**settings))
    first.train(0, at)
    path = save(tmp_path, first, at)
    second = Run(config(**settings), seed=99)
    assert resume(path, second) == at
    torch.manual_seed(4321)
    steps = second.train(at, 9)
    assert [(step.loss, step.gradient_norm) for step in steps] == [
        (step.loss, step.gradient_norm) for step in expected[at:]
    ]
    state, reference = second.state(), whole.state()
    assert state.keys() == reference.keys()
    assert all(torch.equal(value, reference[name]) for name, value in state.items())


def test_saving_changes_nothing(tmp_path):
    quiet, saving = Run(config(ema=0.9)), Run(config(ema=0.9))
    quiet.train(0, 4)
    saving.train(0, 2)
    save(tmp_path, saving, 2)
    saving.train(2, 4)
    assert all(torch.equal(value, quiet.state()[name]) for name, value in saving.state().items())


def test_what_a_checkpoint_holds(tmp_path):
    run = Run(config(ema=0.9))
    run.train(0, 6)
    folder = save(tmp_path, run, 6)
    assert folder == tmp_path / "step_0000006"
    tensors = {f"{name}.safetensors" for name in ("encoder", "objective", "optimizer", "average")}
    assert {each.name for each in folder.iterdir()} == {*tensors, "state.json", "config.json"}
    state = json.loads((folder / "state.json").read_text())
    assert (state["step"], state["total"], state["epoch"], state["batch"]) == (6, 9, 1, 1)
    assert checkpoint.read_config(folder) == CONFIG


def test_the_last_ones_and_protected_ones_are_kept(tmp_path):
    run = Run(config())
    for step in (2, 4, 6, 8, 10):
        save(tmp_path, run, step)
        checkpoint.prune(tmp_path, 2, protect=(4, None))
    names = [each.name for each in checkpoint.checkpoints(tmp_path)]
    assert names == ["step_0000004", "step_0000008", "step_0000010"]
    assert checkpoint.latest(tmp_path) == tmp_path / "step_0000010"
    assert checkpoint.latest(tmp_path / "nothing") is None


def test_the_same_step_may_be_saved_again(tmp_path):
    run = Run(config())
    save(tmp_path, run, 2)
    run.train(0, 2)
    save(tmp_path, run, 2)
    again = Run(config(), seed=5)
    resume(tmp_path / "step_0000002", again)
    assert torch.equal(again.objective.predict.weight, run.objective.predict.weight)
    assert [each.name for each in tmp_path.iterdir()] == ["step_0000002"]


@pytest.mark.parametrize("call", [1, 3, 5, 6, 7])
def test_a_full_disk_costs_nothing(tmp_path, monkeypatch, call):
    run = Run(config())
    save(tmp_path, run, 2)
    calls, fsync = [], os.fsync

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    told = "No space left on device; step_000000[24] is whole, resume from it"
    with pytest.raises(CheckpointError, match=told) as error:
        save(tmp_path, run, 4)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("*.partial"))
    latest = checkpoint.latest(tmp_path)
    assert latest is not None
    assert resume(latest, Run(config())) in (2, 4)


def test_a_write_that_fails_in_the_middle_of_the_tensors_costs_nothing(tmp_path):
    run = Run(config())
    save(tmp_path, run, 2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"File too large .*step_0000002 is whole"):
            save(tmp_path, run, 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [each.name for each in tmp_path.iterdir()] == ["step_0000002"]


ENDLESS = """
import sys
from pathlib import Path
from test_checkpoint import save
from training_stub import Run, config
run = Run(config())
run.train(0, 1)
for step in range(1, 100000):
    save(Path(sys.argv[1]), run, step)
    print(step, flush=True)
"""


def _under_way(run: Path) -> bool:
    """Whether a checkpoint is half written now; its folder may be renamed while one looks."""
    try:
        return any(run.glob("*.partial/optimizer*"))
    except FileNotFoundError:
        return False


def test_a_killed_save_leaves_whole_checkpoints(tmp_path):
    paths = [str(Path(__file__).parent), *sys.path]
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    while not _under_way(tmp_path):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert_whole(tmp_path, least=3)


@pytest.mark.parametrize("call", [1, 4, 5, 6, 7])
def test_a_save_cut_short_anywhere_leaves_whole_checkpoints(tmp_path, monkeypatch, call):
    run = Run(config())
    save(tmp_path, run, 1)
    calls, fsync = [], os.fsync

    def killed(handle: int) -> None:
        calls.append(handle)
        if len(calls) == call:
            raise SystemExit
        fsync(handle)

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(SystemExit):
        save(tmp_path, run, 2)
    assert_whole(tmp_path, least=1)


def assert_whole(path: Path, *, least: int) -> None:
    """Whatever passes for a checkpoint can be resumed from, and nothing else is left."""
    folders = checkpoint.checkpoints(path)
    assert len(folders) >= least
    checkpoint.clear(path)
    assert set(path.iterdir()) == set(folders)
    for number, folder in enumerate(folders, 1):
        assert resume(folder, Run(config())) == number


def test_an_interrupted_replacement_is_undone(tmp_path):
    run = Run(config())
    folder = save(tmp_path, run, 2)
    folder.rename(folder.with_suffix(".replaced"))
    (tmp_path / "step_0000002.partial").mkdir()
    checkpoint.clear(tmp_path)
    assert checkpoint.checkpoints(tmp_path) == [folder]
    assert list(tmp_path.iterdir()) == [folder]


class Wider(Denoise):
    def __init__(self) -> None:
        super().__init__()
        self.predict = nn.Linear(16, 161)
        self.extra = nn.Linear(2, 2)
        del self.idle


def test_a_misfit_is_named_in_one_line(tmp_path):
    folder = save(tmp_path, Run(config()), 2)
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(folder, objective=Wider())
    assert str(error.value) == (
        f"{folder}/objective.safetensors: does not fit the model: missing extra.bias, extra.weight; "
        "unexpected idle; mismatched predict.bias (160,) where (161,) is needed, "
        "predict.weight (160, 16) where (161, 16) is needed"
    )


def test_a_misfit_of_the_optimizer_is_named(tmp_path):
    run = Run(config())
    run.train(0, 1)
    folder = save(tmp_path, run, 1)
    other = objective()
    other.predict.requires_grad_(False)
    with pytest.raises(CheckpointError, match=r"optimizer.safetensors: .* unexpected .*/predict"):
        checkpoint.load(folder, objective=other, optimizer=adamw(other, config().optimizer))


@pytest.mark.parametrize("name", ["encoder.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated"])
def test_a_damaged_file_is_named(tmp_path, name, damage):
    run = Run(config())
    run.train(0, 1)
    folder = save(tmp_path, run, 1)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if damage != "missing":
        (folder / name).write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    with pytest.raises(CheckpointError, match=re.escape(str(folder / name))):
        resume(folder, run)


def test_a_newer_format_is_refused(tmp_path):
    folder = save(tmp_path, Run(config()), 2)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "format": 99}))
    with pytest.raises(CheckpointError, match="format 99 is newer"):
        checkpoint.read_state(folder)


def test_the_encoder_alone_is_loaded(tmp_path):
    run = Run(config(ema=0.9))
    run.train(0, 3)
    folder = save(tmp_path, run, 3)
    for path in (tmp_path, folder):
        encoder = objective(seed=3).encoder
        checkpoint.load_encoder(path, encoder)
        expected = run.objective.encoder.state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in encoder.state_dict().items())
    encoder = objective(seed=3).encoder
    checkpoint.load_encoder(folder, encoder, averaged=True)
    assert run.average is not None
    mean = run.average.weights["encoder.context.inner.weight"]
    assert torch.equal(encoder.context.inner.weight, mean)
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        checkpoint.load_encoder(tmp_path / "elsewhere", encoder)


def test_an_average_that_was_not_saved_is_an_error(tmp_path):
    folder = save(tmp_path, Run(config()), 2)
    model = objective()
    with pytest.raises(CheckpointError, match=r"average.safetensors"):
        checkpoint.load(folder, objective=model, average=Average(model, 0.9))


def test_another_context_does_not_fit(tmp_path):
    save(tmp_path, Run(config()), 2)
    encoder = objective().encoder
    context = Pointwise()
    context.inner = nn.Linear(16, 8)
    encoder.context = context
    with pytest.raises(CheckpointError, match=r"mismatched context.inner.bias \(16,\) where \(8,\)"):
        checkpoint.load_encoder(tmp_path, encoder)
