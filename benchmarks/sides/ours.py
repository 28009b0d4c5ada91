"""Sonorant's side: the same work through its own training loop, in one process or several.

It is set up as the peer beside it is. SpeechBrain's wav2vec 2.0 normalises every convolution's channels and
in front of the Transformer's blocks, has no convolutional positions, and dropout on the attention's weights
and its input too; its BEST-RQ hides 60 % of the frames. data2vec's convolutions are normalised as published.
APC's and VQ-APC's GRUs are 15/16 as wide as s3prl's, because frames are projected to that width before the
first one: then both sides have as many parameters and multiplications. Mockingjay's and TERA's Transformers
have no convolutional positions, because s3prl's have sinusoids. HuBERT is given its labels: naming frames is
left out on both sides. The losses of two views' embeddings alone are in ours_losses.py.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import repeat
from typing import Any, Literal

import ours_losses
import torch
from serve import (
    ITERATIONS,
    MELS,
    STACK,
    TOP_LAYERS,
    Work,
    audio,
    parameters,
    points,
    serve,
    size,
    units,
)
from torch import Tensor, nn

from sonorant.allocator import keep_memory
from sonorant.encoders.base import Encoder
from sonorant.encoders.build import ContextConfig, EncoderConfig, build
from sonorant.encoders.conformer import ConformerConfig
from sonorant.encoders.convolutions import ConvolutionsConfig
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.masked_convolutions import MaskedConvolutionsConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.encoders.transformer import TransformerConfig
from sonorant.nn.kmeans import kmeans
from sonorant.objective import Objective
from sonorant.objectives import apc as apc_objective
from sonorant.objectives import best_rq as best_rq_objective
from sonorant.objectives import ctc as ctc_objective
from sonorant.objectives import data2vec as data2vec_objective
from sonorant.objectives import hubert as hubert_objective
from sonorant.objectives import mockingjay as mockingjay_objective
from sonorant.objectives import npc as npc_objective
from sonorant.objectives import tera as tera_objective
from sonorant.objectives import vq_apc as vq_apc_objective
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


def encoder(task: dict[str, Any], *, norm: Literal["group", "layer"] = "group") -> Encoder:
    """Of wav2vec 2.0, HuBERT, data2vec, CTC and the features."""
    sizes = dict(size(task, "wav2vec2"))
    channels = sizes.pop("channels")
    if task["beside"] == "speechbrain":
        frontend = ConvolutionsConfig(dim=channels, norm="layer")
        context = TransformerConfig(**sizes, norm="pre", positions="none", dropout=0.1, attention_dropout=0.1)
        return build(EncoderConfig(frontend=frontend, context=context, dropout=0.1))
    frontend = ConvolutionsConfig(dim=channels, norm=norm)
    context = TransformerConfig(**sizes, dropout=0.1, attention_dropout=0.1)
    return build(EncoderConfig(frontend=frontend, context=context))


def batch(task: dict[str, Any]) -> Batch:
    """This process's share of the utterances."""
    waves, rows = audio(task), share(task)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(1, 32, (len(waves), 40), generator=generator)[rows.start : rows.stop]
    lengths = torch.full((len(rows),), waves.shape[1])
    return Batch(Padded(waves[rows.start : rows.stop], lengths), tuple(rows), pad(list(labels)))


def share(task: dict[str, Any]) -> range:
    """Which utterances are this process's."""
    each, rank = len(audio(task)) // task["processes"], distributed.rank()
    return range(rank * each, (rank + 1) * each)


def wav2vec2(task: dict[str, Any]) -> Objective:
    return wav2vec2_objective.Config().build(encoder(task))


class Given(nn.Module):
    """A labeller that is told the labels of this process's utterances."""

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        self.labels = labels

    def forward(self, inputs: Padded, wanted: Tensor) -> list[Tensor]:
        return [self.labels[wanted]]


def hubert(task: dict[str, Any]) -> Objective:
    built = hubert_objective.Config(codes=(task["codes"],)).build(encoder(task))
    labels = units(task, built.encoder.frontend.frames(audio(task).shape[1]))
    rows = share(task)
    built.labeller = Given(labels[rows.start : rows.stop])
    return built


def data2vec(task: dict[str, Any]) -> Objective:
    top_layers = min(TOP_LAYERS, size(task, "wav2vec2")["layers"])
    return data2vec_objective.Config(top_layers=top_layers).build(encoder(task, norm="layer"))


def ctc(task: dict[str, Any]) -> Objective:
    return ctc_objective.Config(labels=32).build(encoder(task))


def best_rq(task: dict[str, Any]) -> Objective:
    frontend = LogMelConfig(mels=MELS, stack=STACK)
    context = ConformerConfig(**size(task, "conformer"), kernel=31, dropout=0.1)
    config = best_rq_objective.Config(start_probability=0.6, length=1)
    return config.build(build(EncoderConfig(frontend=frontend, context=context)))


def of_frames(context: ContextConfig) -> Encoder:
    """Of s3prl's objectives: log-mel frames and a context network."""
    return build(EncoderConfig(frontend=LogMelConfig(mels=MELS), context=context))


def recurrent(task: dict[str, Any]) -> Encoder:
    """Of APC and VQ-APC."""
    sizes = size(task, "gru")
    return of_frames(GRUConfig(dim=sizes["dim"] * 15 // 16, layers=sizes["layers"], dropout=0.1))


def apc(task: dict[str, Any]) -> Objective:
    return apc_objective.Config().build(recurrent(task))


def vq_apc(task: dict[str, Any]) -> Objective:
    return vq_apc_objective.Config().build(recurrent(task))


def npc(task: dict[str, Any]) -> Objective:
    context = MaskedConvolutionsConfig(**size(task, "masked_convolutions"), dropout=0.1)
    return npc_objective.Config().build(of_frames(context))


def restoring(task: dict[str, Any]) -> Encoder:
    """Of Mockingjay and TERA."""
    sizes = size(task, "transformer")
    return of_frames(TransformerConfig(**sizes, positions="none", dropout=0.1, attention_dropout=0.1))


def mockingjay(task: dict[str, Any]) -> Objective:
    return mockingjay_objective.Config().build(restoring(task))


def tera(task: dict[str, Any]) -> Objective:
    return tera_objective.Config().build(restoring(task))


TRAINED = (wav2vec2, hubert, data2vec, ctc, best_rq, apc, vq_apc, npc, mockingjay, tera)
OBJECTIVES = {each.__name__: each for each in TRAINED}


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
    if "counted" in task:  # the meter does not see into what inference puts together
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


def machine(task: dict[str, Any]) -> Work:
    """The arithmetic of a step of another work, and at each of its own the machine's rate of matrix products,
    in GFLOP/s."""
    counted = WORKS[task["counted"]]({**task, "work": task["counted"]})
    with Meter(Machine(1.0, 1.0, 1, torch.float32), torch.nn.Module()) as meter:
        counted.step()
    operations = sum(cost.operations for cost in meter.kinds.values())
    dtype = torch.bfloat16 if task["precision"] == "bf16" else torch.float32
    return Work(lambda: rates(dtype, seconds=0.2).operations / 1e9, operations=operations)


WORKS = dict.fromkeys(OBJECTIVES, training)
WORKS |= {"features": features, "kmeans": clusters, **ours_losses.WORKS}

if __name__ == "__main__":
    keep_memory()  # as every command does
    task = json.loads(sys.argv[1])
    works = {**WORKS, "machine": machine}
    if task["processes"] == 1:
        serve(works)
    else:
        with together(task["processes"], partial(follow, task)):
            serve(works)
            distributed.gather(False)
