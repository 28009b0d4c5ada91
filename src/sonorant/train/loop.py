"""Training: batches in, steps out. It knows no method and writes nothing."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from sonorant.config import Config
from sonorant.objective import Objective
from sonorant.train import distributed, frames, sharding
from sonorant.train.average import Average
from sonorant.train.optim import OptimizerConfig
from sonorant.train.schedule import ScheduleConfig, learning_rate
from sonorant.types import Batch, Loss

PATIENCE = 20  # unusable steps in a row


class TrainConfig(Config, frozen=True, kw_only=True):
    """How long and how to train. The length is given in steps or in minutes."""

    steps: int | None = None
    minutes: float | None = None
    accumulate: int = 1  # batches a step
    processes: int = 1  # on a CPU, each with batches of its own; for GPUs and several machines use torchrun
    shard: bool = False  # parameters in slices over all processes, for networks that do not fit into one
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    checkpoint_every: float = 0.1  # below 1 a share of all steps, from 1 on a number of steps
    keep: int = 2  # the last checkpoints
    ema: float | None = None  # decay of the weights' average
    log_every: int = 10  # steps
    stop_on_collapse: bool = False  # else it is told, and training goes on
    schedule: ScheduleConfig = ScheduleConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either steps or minutes")
        if (self.steps is not None and self.steps < 1) or (self.minutes is not None and self.minutes <= 0):
            raise ValueError("steps and minutes are above 0")
        counts = {"accumulate": self.accumulate, "processes": self.processes}
        for name, value in {**counts, "keep": self.keep, "log_every": self.log_every}.items():
            if value < 1:
                raise ValueError(f"{name} is {value}; it starts at 1")
        if self.shard and self.steps is None:
            raise ValueError("shard needs a length in steps: minutes are measured on a whole copy")
        if self.checkpoint_every <= 0:
            raise ValueError(f"checkpoint_every is {self.checkpoint_every}; it is above 0")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; a decay lies between 0 and 1")


class DivergedError(ValueError):
    """Training that has come to nothing."""


@dataclass(frozen=True)
class Step:
    """What one update did, over all ranks and accumulated batches."""

    number: int  # from 1
    loss: float  # the mean over targets
    count: int  # targets
    metrics: Mapping[str, float]  # means of the batches', weighted by targets
    learning_rate: float
    gradient_norm: float  # before clipping
    audio_seconds: float
    seconds: float  # wall time
    waited: float  # of it, for batches
    skipped: bool  # no update: no target, or a gradient that is not finite


class Epochs:
    """Batches without end, epoch after epoch; `epoch` and `batch` tell where the next one stands.

    `batches(epoch, start)` gives an epoch's batches from number `start` on.
    """

    def __init__(
        self, batches: Callable[[int, int], Iterator[Batch]], epoch: int = 0, batch: int = 0
    ) -> None:
        self.epoch = epoch
        self.batch = batch
        self._batches = batches
        self._current = batches(epoch, batch)

    def __iter__(self) -> "Epochs":
        return self

    def __next__(self) -> Batch:
        batch = next(self._current, None)
        if batch is None:
            self.epoch, self.batch = self.epoch + 1, 0
            self._current = self._batches(self.epoch, 0)
            batch = next(self._current, None)
        if batch is None:
            raise ValueError(f"epoch {self.epoch} has no batch: the data are fewer than one for each process")
        self.batch += 1
        return batch


def train(
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Batch],
    config: TrainConfig,
    *,
    total: int,
    start: int = 0,
    average: Average | None = None,
) -> Iterator[Step]:
    """Trains from step `start` to step `total`, one update for each step that is asked for.

    Each batch seeds torch's global generator, so that what is drawn (dropout) depends on the batch alone.
    DivergedError: `PATIENCE` steps in a row were of no use. ValueError: the batches end too soon.
    """
    wasted = 0
    for number in range(start + 1, total + 1):
        began = time.perf_counter()
        taken = list(islice(batches, config.accumulate))
        waited = time.perf_counter() - began
        if len(taken) < config.accumulate:
            raise ValueError(f"the batches end at step {number} of {total}")
        rate = learning_rate(number, total, config.schedule)
        step = _step(objective, optimizer, taken, config, number=number, rate=rate)
        wasted = wasted + 1 if step.skipped else 0
        if wasted == PATIENCE:
            raise DivergedError(_diverged(step, start))
        if not step.skipped:
            objective.after_step(number)
            if average is not None:
                average.update(objective, number)
        yield replace(step, waited=waited, seconds=time.perf_counter() - began)


def autocast_type(precision: Literal["auto", "bf16", "fp32"], device: torch.device) -> torch.dtype:
    """What matrix products are computed in. `auto` is bfloat16 where the hardware is faster in it."""
    if precision == "fp32" or (precision == "auto" and not _faster_in_bfloat16(device)):
        return torch.float32
    return torch.bfloat16


def _faster_in_bfloat16(device: torch.device) -> bool:
    """Processors: those with tiles (AMX). With AVX-512's bfloat16 alone, products took nearly twice as long
    as in single precision (docs/machines.md)."""
    if device.type == "cpu":
        return torch.cpu._is_amx_tile_supported()
    return device.type == "mps" or (device.type == "cuda" and torch.cuda.is_bf16_supported())


@dataclass(frozen=True)
class _Share:
    """What this rank's batches add to a step."""

    total: float
    count: int
    audio_seconds: float
    metrics: tuple[tuple[int, dict[str, float]], ...]  # of each batch, with its targets
    used: tuple[bool, ...]  # which parameters have a gradient


def _step(
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    config: TrainConfig,
    *,
    number: int,
    rate: float,
) -> Step:
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    statistics = list(objective.statistics())
    optimizer.zero_grad()
    for each in statistics:
        each.zero_()
    objective.train()
    dtype = autocast_type(config.precision, parameters[0].device)
    losses = _backward(objective, batches, dtype, look=number % config.log_every == 0)
    shares = distributed.gather(_share(objective, batches, losses, parameters))
    count = sum(share.count for share in shares)
    gradients = _gradients(parameters, shares)
    # in slices, gradients are sums already
    distributed.sum_gradients([*statistics, *([] if sharding.sharded(objective) else gradients)])
    norm = sharding.whole(torch.nn.utils.get_total_norm(gradients)) / max(count, 1)
    skipped = count == 0 or not math.isfinite(norm)
    if not skipped:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        # The mean over targets and the clipping, on the way: one pass over the gradients instead of three.
        clip = config.optimizer.clip
        excess = 1.0 if clip is None else max(1.0, float(norm) / clip)
        optimizer.grad_scale = torch.tensor(count * excess, device=gradients[0].device)  # type: ignore[attr-defined]
        optimizer.step()
    return Step(
        number=number,
        loss=sum(share.total for share in shares) / count if count else math.nan,
        count=count,
        metrics=_means([figures for share in shares for figures in share.metrics]),
        learning_rate=rate,
        gradient_norm=float(norm),
        audio_seconds=sum(share.audio_seconds for share in shares),
        seconds=0.0,
        waited=0.0,
        skipped=skipped,
    )


def _backward(
    objective: Objective, batches: Sequence[Batch], dtype: torch.dtype, *, look: bool
) -> list[Loss]:
    """The losses, detached, with the gradients of their sum left in the parameters; `look` adds what the
    encoder's frames are like to their figures."""
    device = next(objective.parameters()).device
    losses = []
    for batch in batches:
        torch.manual_seed(batch.seed)
        autocast = torch.autocast(device.type, dtype, enabled=dtype != torch.float32)
        with autocast, frames.watched(objective.encoder.context, on=look) as seen:
            loss: Loss = objective(batch.to(device))
        if loss.total.requires_grad:  # without a target it may be a bare zero
            loss.total.backward()
        elif sharding.sharded(objective):
            raise DivergedError(
                "a batch without a target gives no slices: take larger batches, or train.shard=false"
            )
        metrics = {name: value.detach() for name, value in (*loss.metrics.items(), *seen.items())}
        losses.append(Loss(loss.total.detach(), loss.count, metrics))
    return losses


def _share(
    objective: Objective, batches: Sequence[Batch], losses: Sequence[Loss], parameters: Sequence[Tensor]
) -> _Share:
    samples = sum(int(batch.inputs.lengths.sum()) for batch in batches)
    return _Share(
        total=sum(float(loss.total) for loss in losses),
        count=sum(int(loss.count) for loss in losses),
        audio_seconds=samples / objective.encoder.frontend.rate,
        metrics=tuple(
            (int(loss.count), {name: float(value) for name, value in loss.metrics.items()}) for loss in losses
        ),
        used=tuple(parameter.grad is not None for parameter in parameters),
    )


def _gradients(parameters: Sequence[Tensor], shares: Sequence[_Share]) -> list[Tensor]:
    """The gradients of the parameters that any rank used: the same ones on all ranks, zeros where this rank
    had none. What no rank used keeps none, and the optimizer leaves it alone."""
    gradients = []
    for parameter, *used in zip(parameters, *(share.used for share in shares), strict=True):
        if parameter.grad is None and any(used):
            parameter.grad = torch.zeros_like(parameter)
        if parameter.grad is not None:
            gradients.append(parameter.grad)
    return gradients


def _means(figures: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, float]:
    """Each metric's mean over the batches that have it, weighted by their targets; where no batch has a
    target, a plain mean, so that figures tell why."""
    if not any(count for count, _ in figures):
        figures = [(1, metrics) for _, metrics in figures]
    sums: dict[str, float] = {}
    weights: dict[str, int] = {}
    for count, metrics in figures:
        for name, value in metrics.items() if count else ():
            sums[name] = sums.get(name, 0.0) + count * value
            weights[name] = weights.get(name, 0) + count
    return {name: sums[name] / weights[name] for name in sums}


def _diverged(step: Step, start: int) -> str:
    cause = "no batch had a target" if step.count == 0 else "the gradient was not finite"
    return (
        f"step {step.number}: {cause}, {PATIENCE} steps in a row (loss {step.loss:g}); resume from before "
        f"step {max(step.number - PATIENCE, start)} with a lower schedule.peak, or look at the data"
    )
