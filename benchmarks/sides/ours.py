"""Sonorant's side: the same work through its own training loop, in one process or several.

It is set up as the peer beside it is. SpeechBrain's wav2vec 2.0 normalises every convolution's channels and
in front of the Transformer's blocks, has no convolutional positions, and dropout on the attention's weights
and its input too; its BEST-RQ hides 60 % of the frames. APC's GRUs are 15/16 as wide as s3prl's, because
frames are projected to that width before the first one: then both sides have as many parameters and
multiplications.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import repeat
from typing import Any

import torch
from serve import (
    ITERATIONS,
    MELS,
    STACK,
    Work,
    audio,
    parameters,
    points,
    serve,
    size,
)

from sonorant.encoders.base import Encoder
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.conformer import ConformerConfig
from sonorant.encoders.convolutions import ConvolutionsConfig
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.encoders.transformer import TransformerConfig
from sonorant.nn.kmeans import kmeans
from sonorant.objective import Objective
from sonorant.objectives import apc as apc_objective
from sonorant.objectives import best_rq as best_rq_objective
from sonorant.objectives import ctc as ctc_objective
from sonorant.objectives import wav2vec2 as wav2vec2_objective
from sonorant.recipes.precision import prepared
from sonorant.train import distributed
from sonorant.train.loop import Step, TrainConfig, train
from sonorant.train.meter import Machine, Meter, rates
from sonorant.train.optim import OptimizerConfig, adamw
from sonorant.train.processes import together
from sonorant.train.schedule import ScheduleConfig
from sonorant.types import Batch, Padded, pad

STEPS = 10**6


def encoder(task: dict[str, Any]) -> Encoder:
    """Of wav2vec 2.0, CTC and the features."""
    sizes = dict(size(task, "wav2vec2"))
    channels = sizes.pop("channels")
    if task["beside"] == "speechbrain":
        frontend = ConvolutionsConfig(dim=channels, norm="layer")
        context = TransformerConfig(**sizes, norm="pre", positions="none", dropout=0.1, attention_dropout=0.1)
        return build(EncoderConfig(frontend=frontend, context=context, dropout=0.1))
    frontend, context = ConvolutionsConfig(dim=channels), TransformerConfig(**sizes, dropout=0.1)
    return build(EncoderConfig(frontend=frontend, context=context))


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


def best_rq(task: dict[str, Any]) -> Objective:
    frontend = LogMelConfig(mels=MELS, stack=STACK)
    context = ConformerConfig(**size(task, "conformer"), kernel=31, dropout=0.1)
    config = best_rq_objective.Config(start_probability=0.6, length=1)
    return config.build(build(EncoderConfig(frontend=frontend, context=context)))


def apc(task: dict[str, Any]) -> Objective:
    sizes = size(task, "gru")
    context = GRUConfig(dim=sizes["dim"] * 15 // 16, layers=sizes["layers"], dropout=0.1)
    return apc_objective.Config().build(
        build(EncoderConfig(frontend=LogMelConfig(mels=MELS), context=context))
    )


OBJECTIVES = {"wav2vec2": wav2vec2, "ctc": ctc, "best_rq": best_rq, "apc": apc}


def steps(objective: Objective, task: dict[str, Any]) -> Iterator[Step]:
    config = TrainConfig(
        steps=STEPS,
        precision=task["precision"],
        schedule=ScheduleConfig(peak=1e-5, warmup=0, decay="constant"),
        optimizer=OptimizerConfig(clip=5.0),
    )
    return train(objective, adamw(objective, config.optimizer), repeat(batch(task)), config, total=STEPS)


def objective(task: dict[str, Any]) -> Objective:
    torch.manual_seed(0)
    return OBJECTIVES[task["work"]](task)


def training(task: dict[str, Any]) -> Work:
    trained = objective(task)
    taken = steps(trained, task)

    def step() -> float:
        distributed.gather(True)  # the others wait for it
        return next(taken).loss

    return Work(step, parameters(trained))


def follow(task: dict[str, Any]) -> None:
    """What another process does: a step whenever the first one does."""
    taken = steps(objective(task), task)
    while distributed.gather(None)[0]:
        next(taken)


def features(task: dict[str, Any]) -> Work:
    model, inputs = encoder(task).eval(), batch(task).inputs
    if task["work"] == "count":  # the meter does not see into what inference puts together
        return Work(partial(_features, model, inputs, torch.no_grad), parameters(model))
    ready, computing = prepared(model, task["precision"], torch.device("cpu"))
    return Work(partial(_features, ready, inputs, computing), parameters(model))


def _features(
    model: Encoder, inputs: Padded, computing: Callable[[], AbstractContextManager[object]]
) -> float:
    with computing():
        return float(model(inputs).layers[-1].float().mean())


def clusters(task: dict[str, Any]) -> Work:
    values = points(task)

    def step() -> float:
        generator = torch.Generator().manual_seed(0)
        found = kmeans(values, task["codes"], generator=generator, iterations=ITERATIONS, tolerance=-1.0)
        return found.inertia

    return Work(step)


def count(task: dict[str, Any]) -> Work:
    """The arithmetic of one step."""
    counted = task["counted"]
    work = features(task) if counted == "features" else training({**task, "work": counted})

    def step() -> float:
        with Meter(Machine(1.0, 1.0, 1, torch.float32), torch.nn.Module()) as meter:
            work.step()
        return sum(cost.operations for cost in meter.kinds.values())

    return Work(step)


def rate(task: dict[str, Any]) -> Work:
    """The machine's own rate of matrix products, in GFLOP/s."""
    dtype = torch.bfloat16 if task["precision"] == "bf16" else torch.float32
    return Work(lambda: rates(dtype, seconds=0.2).operations / 1e9)


if __name__ == "__main__":
    works = {"features": features, "kmeans": clusters, "count": count, "rate": rate}
    works |= dict.fromkeys(OBJECTIVES, training)
    task = json.loads(sys.argv[1])
    if task["processes"] == 1:
        serve(works)
    else:
        with together(task["processes"], partial(follow, task)):
            serve(works)
            distributed.gather(False)
