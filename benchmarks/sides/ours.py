"""Sonorant's side: the same work through its own training loop, in one process or several."""

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import repeat
from typing import Any

import torch
from serve import ITERATIONS, audio, autocast, points, serve, size

from sonorant.encoders.base import Encoder
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.convolutions import ConvolutionsConfig
from sonorant.encoders.transformer import TransformerConfig
from sonorant.nn.kmeans import kmeans
from sonorant.objective import Objective
from sonorant.objectives import ctc as ctc_objective
from sonorant.objectives import wav2vec2 as wav2vec2_objective
from sonorant.train import distributed
from sonorant.train.loop import Step, TrainConfig, train
from sonorant.train.meter import Machine, Meter, rates
from sonorant.train.optim import OptimizerConfig, adamw
from sonorant.train.processes import together
from sonorant.train.schedule import ScheduleConfig
from sonorant.types import Batch, Padded, pad

STEPS = 10**6


def encoder(task: dict[str, Any]) -> Encoder:
    sizes = size(task)
    context = TransformerConfig(
        dim=sizes["dim"],
        layers=sizes["layers"],
        heads=sizes["heads"],
        feedforward=sizes["feedforward"],
        dropout=0.1,
    )
    return build(EncoderConfig(frontend=ConvolutionsConfig(dim=sizes["channels"]), context=context))


def batch(task: dict[str, Any]) -> Batch:
    """This process's share of the utterances."""
    waves = audio(task)
    share = len(waves) // task["processes"]
    rank = distributed.rank()
    mine = waves[rank * share : (rank + 1) * share]
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(1, 32, (len(waves), 40), generator=generator)[rank * share : (rank + 1) * share]
    lengths = torch.full((share,), waves.shape[1])
    return Batch(Padded(mine, lengths), tuple(range(rank * share, (rank + 1) * share)), pad(list(labels)))


def wav2vec2(task: dict[str, Any]) -> Objective:
    return wav2vec2_objective.Config().build(encoder(task))


def ctc(task: dict[str, Any]) -> Objective:
    return ctc_objective.Config(labels=32).build(encoder(task))


def steps(task: dict[str, Any]) -> Iterator[Step]:
    torch.manual_seed(0)
    objective = {"wav2vec2": wav2vec2, "ctc": ctc}[task["work"]](task)
    config = TrainConfig(
        steps=STEPS,
        precision=task["precision"],
        schedule=ScheduleConfig(peak=1e-5, warmup=0, decay="constant"),
        optimizer=OptimizerConfig(clip=5.0),
    )
    return train(objective, adamw(objective, config.optimizer), repeat(batch(task)), config, total=STEPS)


def training(task: dict[str, Any]) -> Callable[[], float]:
    taken = steps(task)

    def step() -> float:
        distributed.gather(True)  # the others wait for it
        return next(taken).loss

    return step


def follow(task: dict[str, Any]) -> None:
    """What another process does: a step whenever the first one does."""
    taken = steps(task)
    while distributed.gather(None)[0]:
        next(taken)


def features(task: dict[str, Any]) -> Callable[[], float]:
    model, inputs = encoder(task).eval(), batch(task).inputs

    # the meter does not see into what inference mode leaves whole
    without = torch.no_grad if task["work"] == "count" else torch.inference_mode

    def step() -> float:
        with without(), autocast(task):
            return float(model(inputs).layers[-1].float().mean())

    return step


def clusters(task: dict[str, Any]) -> Callable[[], float]:
    values = points(task)

    def step() -> float:
        generator = torch.Generator().manual_seed(0)
        found = kmeans(values, task["codes"], generator=generator, iterations=ITERATIONS, tolerance=-1.0)
        return found.inertia

    return step


def count(task: dict[str, Any]) -> Callable[[], float]:
    """The arithmetic of one step."""
    counted = task["counted"]
    work = features(task) if counted == "features" else training({**task, "work": counted})

    def step() -> float:
        with Meter(Machine(1.0, 1.0, 1, torch.float32), torch.nn.Module()) as meter:
            work()
        return sum(cost.operations for cost in meter.kinds.values())

    return step


def rate(task: dict[str, Any]) -> Callable[[], float]:
    """The machine's own rate of matrix products, in GFLOP/s."""
    dtype = torch.bfloat16 if task["precision"] == "bf16" else torch.float32
    return lambda: rates(dtype, seconds=0.2).operations / 1e9


if __name__ == "__main__":
    works = {"wav2vec2": training, "ctc": training, "features": features, "kmeans": clusters}
    works |= {"count": count, "rate": rate}
    task = json.loads(sys.argv[1])
    if task["processes"] == 1:
        serve(works)
    else:
        with together(task["processes"], partial(follow, task)):
            serve(works)
            distributed.gather(False)
