"""One way to train, for every objective: resume or begin, step, log, save, look at the held-out loss."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from sonorant.config import ConfigError
from sonorant.data.alternation import Alternation
from sonorant.data.dataset import Dataset
from sonorant.data.mixture import Mixture
from sonorant.encoders.base import Encoder
from sonorant.health import ENCODER
from sonorant.objective import Objective
from sonorant.recipes.settings import differences
from sonorant.train import checkpoint, distributed
from sonorant.train.average import Average
from sonorant.train.checkpoint import State
from sonorant.train.log import Log, figures, read_metrics
from sonorant.train.loop import Epochs, TrainConfig, autocast_type, train
from sonorant.train.optim import adamw
from sonorant.train.processes import alone
from sonorant.train.schedule import steps_for
from sonorant.train.sharding import assemble, shard
from sonorant.train.timing import measure_step_seconds
from sonorant.train.watch import Watch, collapsed
from sonorant.types import Batch

PREPARING = 20  # batches that an objective may be fitted to before it is trained


@dataclass(frozen=True)
class Job:
    """What to train, on what, and where it goes."""

    run: Path
    objective: Objective
    dataset: Dataset | Mixture | Alternation
    config: TrainConfig
    seed: int
    settings: dict[str, Any]  # the whole configuration, as it is saved
    validation: Dataset | None = None
    score: Callable[[Encoder, int], dict[str, float]] | None = None
    """Figures of the encoder at a step, `score` among them: the higher the better. Called before each
    checkpoint, on rank 0; the best one is kept."""
    patience: int | None = None
    """Scorings in a row that did not rise beyond the interval (`score_high`) of the last one that did, after
    which training ends."""


@dataclass(frozen=True)
class Preparing:
    """The first batches of training, for what is fitted before it: the same ones on every rank and each time,
    so many as the objective asks for in hours of audio, or `PREPARING`."""

    job: Job

    def __iter__(self) -> Iterator[Batch]:
        objective = self.job.objective
        device = next(objective.parameters()).device
        batches = (batch.to(device) for batch in self.job.dataset.batches(self.job.seed, 0))
        if objective.prepare_hours is None:
            yield from islice(batches, PREPARING)
            return
        missing = objective.prepare_hours * 3600 * self.job.dataset.config.rate  # samples
        for batch in batches:
            yield batch
            missing -= int(batch.inputs.lengths.sum())
            if missing <= 0:
                return


def fit(job: Job, *, quiet: bool = False) -> Path:
    """Trains to the end, from the run's last checkpoint if there is one; gives the best checkpoint.

    To be called within `distributed.session()`.

    The best is the one with the highest score, without scores the one with the lowest validation loss,
    without either the last one. ConfigError: the run was begun with other settings. CollapsedError: it was to
    stop if it learns nothing, and does.
    """
    device = distributed.device()
    folder = distributed.first(partial(_last, job))
    if not job.config.shard:
        job.objective.to(device)
    if folder is None:
        job.objective.prepare(Preparing(job))
    objective = shard(job.objective) if job.config.shard else job.objective
    optimizer = adamw(objective, job.config.optimizer)
    average = None if job.config.ema is None else Average(objective, job.config.ema)
    if folder is None:
        state = State(step=0, total=_total(job))
    else:
        state = checkpoint.load(folder, objective=objective, optimizer=optimizer, average=average)
    dtype = str(autocast_type(job.config.precision, device)).removeprefix("torch.")
    threads = f"{distributed.world()} x {torch.get_num_threads()} threads"
    say(f"{state.total} steps; {threads}, {dtype}, on {device}", quiet=quiet)
    epochs = Epochs(lambda epoch, start: _epoch(job, epoch, start), state.epoch, state.batch)
    steps = train(
        objective,
        optimizer,
        epochs,
        job.config,
        total=state.step if _enough(job, state) else state.total,
        start=state.step,
        average=average,
    )
    every = _interval(job.config.checkpoint_every, state.total)
    with Log(job.run, total=state.total, start=state.step, every=job.config.log_every, quiet=quiet) as log:
        watch = _watch(job)
        _stop_if_collapsed(job, watch, state.step)
        for step in steps:
            log.step(step)
            for line in watch.see(step.number, figures(step)):
                log.tell(step.number, line)
            ill = _stops(job, watch)
            if step.number % every and step.number != state.total and not ill:
                continue
            with _shown(job, objective, average):
                state = distributed.first(partial(_measured, job, state, epochs, step.number, log))
            checkpoint.save(
                job.run,
                state,
                objective=objective,
                optimizer=optimizer,
                config=job.settings,
                average=average,
            )
            _stop_if_collapsed(job, watch, step.number)  # before older checkpoints are removed
            distributed.first(partial(checkpoint.prune, job.run, job.config.keep, protect={state.best_step}))
            if _enough(job, state):
                break
    if _enough(job, state):
        say(
            f"ended at step {state.step} of {state.total}: no rise of the score in {state.waited} scorings",
            quiet=quiet,
        )
    best = state.best_step if state.best_step is not None else state.step
    return distributed.first(lambda: checkpoint.step_folder(job.run / f"step_{best:07d}"))


def _watch(job: Job) -> Watch:
    """What watches over a run, with all that its log holds seen: the same on every rank."""
    signs = (*ENCODER, *job.objective.signs())
    rows = distributed.first(lambda: read_metrics(job.run / "metrics.jsonl"))
    return Watch(signs, every=job.config.log_every, rows=rows)


def _stops(job: Job, watch: Watch) -> bool:
    return job.config.stop_on_collapse and bool(watch.present)


def _stop_if_collapsed(job: Job, watch: Watch, step: int) -> None:
    if _stops(job, watch):
        raise collapsed(str(job.run), watch.present, step)


def _interval(every: float, total: int) -> int:
    """Steps from one checkpoint to the next; a share is rounded up, or the last two would stand close."""
    return max(1, math.ceil(round(every * total, 6)) if every < 1 else round(every))


def _epoch(job: Job, epoch: int, start: int) -> Iterator[Batch]:
    return job.dataset.batches(
        job.seed, epoch, start=start, rank=distributed.rank(), world=distributed.world()
    )


def _last(job: Job) -> Path | None:
    """The checkpoint to continue from. ConfigError: the run was begun with other settings."""
    checkpoint.clear(job.run)
    folder = checkpoint.latest(job.run)
    if folder is None:
        return None
    if changed := differences(_essential(checkpoint.read_config(folder)), _essential(job.settings)):
        raise ConfigError(
            f"{job.run}: was begun with other settings: {'; '.join(changed)} "
            "(continue with the same ones, or choose another `out`)"
        )
    return folder


def _total(job: Job) -> int:
    """The number of steps: as set, or as many as fit into the minutes at the speed measured now."""
    config = job.config
    if config.steps is not None:
        return config.steps
    assert config.minutes is not None
    return steps_for(config.minutes, step_seconds(job))


def step_seconds(job: Job) -> float:
    """The time of a step, measured now on a copy."""

    def optimizer(module: nn.Module) -> torch.optim.Optimizer:
        return adamw(module, job.config.optimizer)

    return measure_step_seconds(job.objective, optimizer, _endless(job), job.config)


def _essential(settings: dict[str, Any]) -> dict[str, Any]:
    """What has to stay as it was: a folder may be moved, and `out` with it; slices and stops may change."""
    return settings | {"out": None, "train": settings["train"] | {"shard": None, "stop_on_collapse": None}}


def _endless(job: Job) -> Iterator[Batch]:
    return Epochs(lambda epoch, start: _epoch(job, epoch, start))


@contextmanager
def _shown(job: Job, objective: Objective, average: Average | None) -> Iterator[None]:
    """The job's objective, whole and with averaged weights if there are any, for rank 0 to look at."""
    if objective is not job.objective:
        assemble(objective, job.objective)
        if average is not None:
            average.assign(job.objective)
        yield
    else:
        with nullcontext() if average is None else average.applied(objective):
            yield


def _measured(job: Job, state: State, epochs: Epochs, step: int, log: Log) -> State:
    """Where training stands at a step, and how good that is: what one rank does."""
    with alone():
        figure, high = _figure(job, step, log)
    state = msgspec.structs.replace(state, step=step, epoch=epochs.epoch, batch=epochs.batch)
    if figure is None:
        return state
    if state.best is None or figure > state.best:
        state = msgspec.structs.replace(state, best=figure, best_step=step)
    if state.to_beat is None or figure > state.to_beat:
        return msgspec.structs.replace(state, to_beat=high, waited=0)
    return msgspec.structs.replace(state, waited=state.waited + 1)


def _enough(job: Job, state: State) -> bool:
    return job.patience is not None and state.waited >= job.patience


def _figure(job: Job, step: int, log: Log) -> tuple[float | None, float]:
    """What tells how good a checkpoint is, the higher the better, and the upper end of its interval; None
    where nothing does."""
    scores: dict[str, float] = {}
    if job.validation is not None:
        scores["validation_loss"] = validation_loss(job.objective, job.validation, job.config)
    if job.score is not None:
        scores |= job.score(job.objective.encoder, step)
    if not scores:
        return None, math.nan
    log.row(step, scores)
    figure = scores.get("score", -scores.get("validation_loss", math.nan))
    return figure if math.isfinite(figure) else None, scores.get("score_high", figure)


@torch.no_grad()
def validation_loss(objective: Objective, dataset: Dataset, config: TrainConfig) -> float:
    """The mean loss over a held-out set, in evaluation mode; masks are the same every time."""
    device = next(objective.parameters()).device
    dtype = autocast_type(config.precision, device)
    total, count = 0.0, 0
    objective.eval()
    with torch.random.fork_rng():
        for batch in dataset.in_order():
            torch.manual_seed(batch.seed)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                loss = objective(batch.to(device))
            total, count = total + float(loss.total), count + int(loss.count)
    objective.train()
    return total / count if count else float("nan")


def say(text: str, *, quiet: bool = False) -> None:
    """A line for people, on the standard error."""
    if not quiet and distributed.rank() == 0:
        print(text, file=sys.stderr, flush=True)
