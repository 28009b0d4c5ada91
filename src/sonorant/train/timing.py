"""How long a step takes here, before training: what turns a budget in minutes into a number of steps."""

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise

import torch
from torch import nn

from sonorant.objective import Objective
from sonorant.train import distributed
from sonorant.train.loop import TrainConfig, train
from sonorant.types import Batch


def measure_step_seconds(
    objective: Objective,
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    batches: Iterator[Batch],
    config: TrainConfig,
    *,
    steps: int = 10,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """The median wall time of a step, measured on a copy: objective and generators stay as they are.

    With another `clock` (`time.process_time`, which other work on the machine does not hurry) it is that
    clock's time. The first steps, which pay for set-up, are left out, and so is the decoding, which later
    happens ahead of time; the slowest rank counts. Checkpoints and validation come on top.
    """
    trial = copy.deepcopy(objective)
    setup = min(3, steps - 1)
    taken = iter(list(islice(batches, steps * config.accumulate)))
    with torch.random.fork_rng():
        made = train(trial, make_optimizer(trial), taken, config, total=steps)
        times = [clock(), *(clock() for _ in made)]
    seconds = [later - earlier for earlier, later in pairwise(times)]
    return max(distributed.gather(statistics.median(seconds[setup:])))
