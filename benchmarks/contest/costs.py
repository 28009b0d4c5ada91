"""What training costs: how many updates fit into some minutes, and the seconds that were really spent.

Minutes are processor minutes of each process, so that other work on the machine changes no number of updates:
what a process of one thread computes takes so long on a core of its own. What it waits for the others or for
a disk is not counted.
"""

import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from contest.entries import Entry
from sonorant.evaluate.rows import Row
from sonorant.recipes import finetune as finetuning
from sonorant.recipes import pretrain as pretraining
from sonorant.recipes.fit import Preparing
from sonorant.recipes.settings import FinetuneConfig, PretrainConfig
from sonorant.train import distributed
from sonorant.train.loop import Epochs
from sonorant.train.optim import adamw
from sonorant.train.schedule import steps_for
from sonorant.train.timing import measure_step_seconds

TIMED = 20  # steps, of which the median tells how many fit into the minutes


class Cost(NamedTuple):
    """Processor seconds, of the process that needs most."""

    prepare: float  # before the first update
    step: float


def cost(config: PretrainConfig | FinetuneConfig) -> Cost:
    """What a run would take here, measured with as many processes as it will have."""
    with distributed.session(config.train.processes, partial(cost, config)):
        recipe = finetuning if isinstance(config, FinetuneConfig) else pretraining
        job = recipe.job(config, quiet=True)
        job.objective.to(distributed.device())
        began = time.process_time()
        job.objective.prepare(Preparing(job))
        prepare = max(distributed.gather(time.process_time() - began))

        def epoch(number: int, start: int) -> Iterator[Any]:
            return job.dataset.batches(
                job.seed, number, start=start, rank=distributed.rank(), world=distributed.world()
            )

        optimizer = partial(adamw, config=job.config.optimizer)
        step = measure_step_seconds(
            job.objective, optimizer, Epochs(epoch), job.config, steps=TIMED, clock=time.process_time
        )
        return Cost(prepare, step)


def updates(file: Path, config: PretrainConfig | FinetuneConfig, minutes: float) -> int:
    """How many updates fit into the processor minutes of each process: measured once, so that an interrupted
    run goes on with them."""
    if not file.exists():
        found = cost(config)
        steps = steps_for(minutes - found.prepare / 60, found.step)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"updates": steps, **found._asdict()}), encoding="utf8")
    return int(json.loads(file.read_text(encoding="utf8"))["updates"])


@contextmanager
def timed(file: Path) -> Iterator[None]:
    """Adds the wall and processor seconds of what is done within to those in a file."""
    began, used = time.perf_counter(), _processor_seconds()
    try:
        yield
    finally:
        earlier = json.loads(file.read_text(encoding="utf8")) if file.exists() else [0.0, 0.0]
        spent = (time.perf_counter() - began, _processor_seconds() - used)
        total = [before + now for before, now in zip(earlier, spent, strict=True)]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(total), encoding="utf8")


def times(entry: Entry, stage: str, prefix: str = "") -> list[Row]:
    """The wall and processor seconds that were spent on a stage."""
    wall, processor = json.loads((entry.folder / f"{stage}-seconds.json").read_text(encoding="utf8"))
    return [entry.row(f"{prefix}seconds", wall), entry.row(f"{prefix}processor seconds", processor)]


def _processor_seconds() -> float:
    """Of this process, and of those that it started and that have ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in both)
