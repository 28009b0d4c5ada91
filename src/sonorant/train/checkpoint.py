"""Checkpoints: safetensors and JSON in a folder of their own for each step.

`run/step_0002000/` holds `encoder`, `objective`, `optimizer` and, if there is one, `average`, each a
`.safetensors` file, besides `state.json` and `config.json`. The folder is written under another name, brought
to the disk and then renamed: a checkpoint that can be seen is a whole one. Nothing is pickled.
"""

import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sonorant.encoders.base import Encoder
from sonorant.objective import Objective
from sonorant.train import distributed, sharding
from sonorant.train.average import Average
from sonorant.train.optim import named_state, restore_state

FORMAT = 1
_STEP = re.compile(r"step_(\d{7,})")


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, read or used here."""


class MissingCheckpointError(CheckpointError):
    """A path where there is none: the path is wrong, and nothing has failed."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Where training stands, besides the tensors."""

    step: int
    total: int  # steps of the whole training, fixed when it began
    epoch: int = 0
    batch: int = 0  # in the epoch: the next one to train on
    best: float | None = None  # the best validation score so far
    best_step: int | None = None
    to_beat: float | None = None  # the upper end of the interval of the last score that was a rise
    waited: int = 0  # scorings since then
    format: int = FORMAT
    torch: str = str(torch.__version__)


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, first to last."""
    found = {int(match[1]): each for each in run.glob("step_*") if (match := _STEP.fullmatch(each.name))}
    return [found[step] for step in sorted(found)]


def latest(run: Path) -> Path | None:
    """The last checkpoint of a run, if there is one."""
    return next(reversed(checkpoints(run)), None)


def save(
    run: Path,
    state: State,
    *,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    config: Mapping[str, Any],
    average: Average | None = None,
) -> Path:
    """Writes a checkpoint and gives its folder; one of the same step is replaced.

    All ranks call it and rank 0 writes. What is in slices is written whole: nobody sees afterwards how it was
    trained. CheckpointError: it could not be written, as on a full disk. The earlier ones are as they were.
    """
    tensors = {**_split(objective), "optimizer": named_state(objective, optimizer)}
    if average is not None:
        tensors["average"] = average.weights
    if sharding.sharded(objective):
        tensors = {part: _assembled(values) for part, values in tensors.items()}
    return distributed.first(partial(_write, run, state, tensors, config))


def _assembled(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors in main memory, on rank 0 alone."""
    wholes = ((name, sharding.whole(value)) for name, value in tensors.items())
    return {name: value.cpu() for name, value in wholes if distributed.rank() == 0}


def _write(
    run: Path, state: State, tensors: Mapping[str, Mapping[str, Tensor]], config: Mapping[str, Any]
) -> Path:
    folder = run / f"step_{state.step:07d}"
    aside = folder.with_suffix(".partial")
    try:
        run.mkdir(parents=True, exist_ok=True)
        clear(run)
        aside.mkdir()
        for name, values in tensors.items():
            save_file(_separate(values), aside / f"{name}.safetensors")
            _to_disk(aside / f"{name}.safetensors")
        for name, value in {"state": state, "config": config}.items():
            (aside / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(value)))
            _to_disk(aside / f"{name}.json")
        _to_disk(aside)
        _rename(aside, folder)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            clear(run)
        raise CheckpointError(_failure(folder, error)) from error
    return folder


def prune(run: Path, keep: int, *, protect: Collection[int | None] = ()) -> None:
    """Removes all but the last `keep` checkpoints and those of the protected steps."""
    protected = {f"step_{step:07d}" for step in protect if step is not None}
    for folder in checkpoints(run)[: -keep or None]:
        if folder.name not in protected:
            # A folder that is being removed must not pass for a checkpoint.
            shutil.rmtree(folder.rename(folder.with_suffix(".partial")))


def clear(run: Path) -> None:
    """Removes what an interrupted save left behind."""
    for replaced in run.glob("step_*.replaced"):
        if replaced.with_suffix("").exists():
            shutil.rmtree(replaced)
        else:
            replaced.rename(replaced.with_suffix(""))
    for aside in run.glob("step_*.partial"):
        shutil.rmtree(aside)


def load(
    folder: Path,
    *,
    objective: Objective,
    optimizer: torch.optim.Optimizer | None = None,
    average: Average | None = None,
) -> State:
    """Restores what is given from a checkpoint, exactly, and tells where training stood.

    All ranks call it and rank 0 alone reads: on a disk that machines share, the others may not see yet what
    it sees. CheckpointError: a file cannot be read, or what it holds does not fit.
    """
    state = distributed.first(partial(read_state, folder))
    for name, expected in _split(objective).items():
        _copy(_spread(folder / f"{name}.safetensors", expected), expected)
    if average is not None:
        _copy(_spread(folder / "average.safetensors", average.weights), average.weights)
    if optimizer is not None:
        file = folder / "optimizer.safetensors"
        try:
            restore_state(objective, optimizer, _spread(file))
        except ValueError as error:
            raise CheckpointError(f"{file}: does not fit the objective: {error}") from error
    return state


def load_encoder(path: Path, encoder: Encoder, *, averaged: bool = False) -> None:
    """Gives an encoder the weights of a checkpoint, or of the last one of a run.

    CheckpointError: there is none, it cannot be read, or the encoder is another.
    """
    folder = step_folder(path)
    expected = encoder.state_dict()
    _copy(_read(folder / "encoder.safetensors", expected).items(), expected)
    if averaged:
        prefix = "encoder."
        means = _read(folder / "average.safetensors").items()
        _copy(
            ((name.removeprefix(prefix), mean) for name, mean in means if name.startswith(prefix)), expected
        )


def step_folder(path: Path) -> Path:
    """The checkpoint at a path, which is its folder or its run's. MissingCheckpointError: there is none."""
    folder = path if (path / "state.json").exists() else latest(path)
    if folder is None:
        raise MissingCheckpointError(
            f"{path}: no checkpoint here; give a run's folder or one of its step_ folders"
        )
    return folder


def read_state(folder: Path) -> State:
    """Where training stood. CheckpointError: `state.json` cannot be read or is of a newer format."""
    try:
        state = msgspec.convert(_json(folder / "state.json"), State)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{folder / 'state.json'}: not a state of training: {error}") from error
    if state.format > FORMAT:
        raise CheckpointError(f"{folder}: format {state.format} is newer than this version's {FORMAT}")
    return state


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration that the run was started with. CheckpointError: it cannot be read."""
    return dict(_json(folder / "config.json"))


def _json(file: Path) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise CheckpointError(f"{file}: cannot be read: {error}") from error


def _split(objective: nn.Module) -> dict[str, dict[str, Tensor]]:
    """The tensors that are kept and those that are thrown away."""
    parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "objective": {}}
    for name, value in objective.state_dict().items():
        inside = name.startswith("encoder.")
        parts["encoder" if inside else "objective"][name.removeprefix("encoder.")] = value
    return parts


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share no memory, which safetensors refuses: tied weights are written twice."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        value = tensor.detach().contiguous()
        result[name] = value.clone() if storage in seen else value
        seen.add(storage)
    return result


def _read(file: Path, expected: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The tensors of a file, checked against the expected names and shapes."""
    try:
        found: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{file}: cannot be read: {error}; an earlier checkpoint may be whole"
        ) from error
    if expected is None:
        return found
    common = sorted(found.keys() & expected.keys())
    differences = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "mismatched": [
            f"{name} {tuple(found[name].shape)} where {tuple(expected[name].shape)} is needed"
            for name in common
            if found[name].shape != expected[name].shape
        ],
    }
    told = [f"{what} {_listed(names)}" for what, names in differences.items() if names]
    if told:
        raise CheckpointError(f"{file}: does not fit the model: {'; '.join(told)}")
    return found


def _spread(file: Path, expected: Mapping[str, Tensor] | None = None) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a file that rank 0 reads, on every rank."""
    return distributed.spread(partial(_read, file, expected))


def _listed(names: list[str], most: int = 5) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


@torch.no_grad()
def _copy(source: Iterable[tuple[str, Tensor]], target: Mapping[str, Tensor]) -> None:
    for name, value in source:
        target[name].copy_(sharding.like(value, target[name]))


def _to_disk(path: Path) -> None:
    """Waits until a file or folder has reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _rename(aside: Path, folder: Path) -> None:
    """Makes the checkpoint visible at once; `clear` undoes a replacement that was cut short."""
    replaced = folder.with_suffix(".replaced")
    if folder.exists():
        folder.rename(replaced)
    aside.rename(folder)
    _to_disk(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _failure(folder: Path, error: OSError | SafetensorError) -> str:
    cause = (isinstance(error, OSError) and error.strerror) or str(error)
    earlier = latest(folder.parent)
    kept = f"{earlier.name} is whole, resume from it" if earlier else "there is no earlier one"
    return f"{folder}: the checkpoint could not be written: {cause}; {kept}"
