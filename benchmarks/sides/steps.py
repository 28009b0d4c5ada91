"""Training steps of a shipped configuration on real speech: alone, or as one of the processes of a run."""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import cycle, islice
from typing import Any

from serve import Work, serve

from sonorant.config import convert, load
from sonorant.recipes.fit import PREPARING
from sonorant.recipes.pretrain import job
from sonorant.recipes.settings import PretrainConfig
from sonorant.recipes.shipped import shipped
from sonorant.train import distributed
from sonorant.train.loop import train
from sonorant.train.optim import adamw
from sonorant.train.processes import together

ENDLESS = 10**9


def steps(task: dict[str, Any]) -> Callable[[], float]:
    """Does some steps with the batches of this rank; gives the seconds of audio that all ranks took in.

    A process on its own takes the batches of rank `rank` of `world`, so that it has the same work as there.
    """
    rank, world = task.get("rank", distributed.rank()), task["world"]
    words = [
        f"data.manifest={task['manifest']}",
        f"data.batch_seconds={task['batch_seconds']}",
        "train.minutes=null",
    ]
    words += [f"train.steps={ENDLESS}", f"train.precision={task['precision']}"]
    with tempfile.TemporaryDirectory() as folder:
        settings = load(shipped(task["config"]), [*words, f"out={folder}"])
        run = job(convert(settings, PretrainConfig), quiet=True)
    run.objective.prepare(islice(run.dataset.batches(0, 0), PREPARING))
    batches = cycle(list(run.dataset.batches(0, 0, rank=rank, world=world)))
    optimizer = adamw(run.objective, run.config.optimizer)
    taken = train(run.objective, optimizer, batches, run.config, total=ENDLESS)
    return lambda: sum(step.audio_seconds for step in islice(taken, task["steps"]))


def stretch(task: dict[str, Any]) -> Work:
    """The same for the process that is told when."""
    work = steps(task)

    def told() -> float:
        distributed.gather(True)  # the others wait for it
        return work()

    return Work(told)


def follow(task: dict[str, Any]) -> None:
    """What another process does: as many steps, whenever the first one does them."""
    work = steps(task)
    while distributed.gather(None)[0]:
        work()


def main() -> None:
    task = json.loads(sys.argv[1])
    with ExitStack() as stack:
        if task["processes"] > 1 and "RANK" in os.environ:
            stack.enter_context(distributed.session())
        elif task["processes"] > 1:
            stack.enter_context(together(task["processes"], partial(follow, task)))
        if distributed.rank() > 0:
            follow(task)
        else:
            serve({"stretch": stretch})
            distributed.gather(False)


if __name__ == "__main__":
    main()
