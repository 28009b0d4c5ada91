"""Where a training step's time goes, against what the machine could do at best."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from sonorant.allocator import keeps_memory
from sonorant.config import convert
from sonorant.recipes import finetune, pretrain
from sonorant.recipes.fit import PREPARING, Job, Preparing
from sonorant.recipes.settings import FinetuneConfig, PretrainConfig
from sonorant.train.loop import Step, autocast_type, train
from sonorant.train.meter import Cost, Machine, Meter, rates
from sonorant.train.optim import adamw
from sonorant.types import Batch

SET_UP = 2  # steps that are not counted: memory is taken, kernels are chosen


@dataclass(frozen=True)
class Profile:
    """A step of training; costs are those of one step."""

    machine: Machine
    seconds: float  # of a step, the median
    waited: float  # of them, for batches
    audio_seconds: float
    modules: Mapping[str, Cost]
    kinds: Mapping[str, Cost]

    @property
    def total(self) -> Cost:
        """Of all operations."""
        result = Cost()
        for cost in self.kinds.values():
            result.add(cost)
        return result

    @property
    def rate_share(self) -> float:
        """Of the machine's rate of matrix products, what a step uses."""
        return self.total.operations / self.seconds / self.machine.operations

    def row(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "threads": self.machine.threads,
            "type": str(self.machine.type).removeprefix("torch."),
            "matrix_rate": self.machine.operations,
            "memory_rate": self.machine.bytes,
            "seconds": self.seconds,
            "waited": self.waited,
            "audio_seconds": self.audio_seconds,
            "rate_share": self.rate_share,
            "modules": {name: vars(cost) for name, cost in self.modules.items()},
            "kinds": {name: vars(cost) for name, cost in self.kinds.items()},
        }

    def text(self) -> str:
        """Two tables, for people."""
        machine, total = self.machine, self.total
        kept = "kept for reuse" if keeps_memory() else "left to the allocator"
        head = (
            f"{machine.threads} threads; freed memory is {kept}; "
            f"{str(machine.type).removeprefix('torch.')} matrix products at {machine.operations / 1e9:.0f} "
            f"GFLOP/s, memory at {machine.bytes / 1e9:.1f} GB/s\n"
            f"a step: {self.audio_seconds:.1f} s of audio in {self.seconds:.3f} s "
            f"({self.audio_seconds / self.seconds:.0f} s of audio a second), "
            f"{self.waited / self.seconds:.1%} of it waiting for data\n"
            f"its operations take {total.seconds:.3f} s when timed one by one; at best {total.floor:.3f} s; "
            f"{self.rate_share:.1%} of the matrix rate is used\n"
        )
        return "\n".join([head, _table("module", self.modules), "", _table("kind", self.kinds)])


def profile(settings: Mapping[str, Any], *, steps: int = 8) -> Profile:
    """Times some steps of the run that the settings of `pretrain` or `finetune` describe; writes nothing.

    ConfigError: as the run itself would have it.
    """
    with tempfile.TemporaryDirectory() as folder:
        job = _job(settings, Path(folder) / "run")
        prepared = list(islice(job.dataset.batches(job.seed, 0), PREPARING))
        job.objective.prepare(Preparing(job))
        timed = _steps(job, (prepared * steps)[: SET_UP + steps])[SET_UP:]
        machine = rates(autocast_type(job.config.precision, next(job.objective.parameters()).device))
        with Meter(machine, job.objective) as meter:
            _steps(job, (prepared * steps)[:steps])
    return Profile(
        machine=machine,
        seconds=median(step.seconds for step in timed),
        waited=median(step.waited for step in timed),
        audio_seconds=sum(step.audio_seconds for step in timed) / steps,
        modules=_per_step(meter.modules, steps),
        kinds=_per_step(meter.kinds, steps),
    )


def _job(settings: Mapping[str, Any], out: Path) -> Job:
    run = {**settings, "out": str(out)}
    if "pretrained" in settings:
        return finetune.job(convert(run, FinetuneConfig), quiet=True)
    return pretrain.job(convert(run, PretrainConfig), quiet=True)


def _steps(job: Job, batches: list[Batch]) -> list[Step]:
    """Trains on the batches."""
    config = msgspec.structs.replace(job.config, accumulate=1)
    optimizer = adamw(job.objective, config.optimizer)
    return list(train(job.objective, optimizer, iter(batches), config, total=len(batches)))


def _per_step(costs: Mapping[str, Cost], steps: int) -> dict[str, Cost]:
    """Costs of one step, the dearest first."""
    ordered = sorted(costs.items(), key=lambda item: -item[1].seconds)
    return {name: Cost(**{key: value / steps for key, value in vars(cost).items()}) for name, cost in ordered}


def _table(title: str, costs: Mapping[str, Cost]) -> str:
    whole = sum(cost.seconds for cost in costs.values())
    lines = [f"{title:42s} {'ms':>8s} {'share':>6s} {'GFLOP':>8s} {'GB':>7s} {'floor ms':>9s} {'calls':>7s}"]
    lines += [
        f"{name:42s} {1e3 * cost.seconds:8.2f} {cost.seconds / whole:6.1%} {cost.operations / 1e9:8.3f} "
        f"{cost.bytes / 1e9:7.3f} {1e3 * cost.floor:9.2f} {cost.calls:7.0f}"
        for name, cost in costs.items()
    ]
    return "\n".join(lines)
