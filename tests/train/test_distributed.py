"""Guards training in several processes: they do what one does with the same batches."""

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.profiler import profile
from training_stub import Denoise, batch, config, objective

from sonorant.train import distributed
from sonorant.train.log import Log
from sonorant.train.loop import measure_step_seconds, train
from sonorant.train.optim import adamw
from sonorant.types import Batch, Loss

CUTS = [[0, 1], [2], [3], [4, 5, 6], [7, 8], [9, 10], [11, 0], [1, 2], [3, 4], [5], [6], [7, 8]]
STEPS, TOTAL = 3, 9
MARK = 4  # only the batch that begins with this utterance uses `idle`
EMPTY = 9  # and the one that begins with this one has no target
WORLDS = (4, 2)
PRECISIONS = ("fp32", "bf16")


class Uneven(Denoise):
    """Uses a parameter on one rank only, and finds no target on the other."""

    def forward(self, batch: Batch) -> Loss:
        if batch.seeds[0] == EMPTY:
            return Loss(torch.zeros(()), torch.tensor(0), {})
        loss = super().forward(batch)
        if batch.seeds[0] == MARK:
            return Loss(
                loss.total + 10 * self.idle.square().sum(),
                loss.count,
                {**loss.metrics, "mark": self.idle.sum()},
            )
        return loss


def trained(
    cuts: list[list[int]], accumulate: int, precision: str
) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    torch.manual_seed(0)
    model = Uneven(dropout=0.0)
    settings = config(accumulate=accumulate, precision=precision)
    steps = train(model, adamw(model, settings.optimizer), map(batch, cuts), settings, total=TOTAL)
    told = []
    for _ in range(STEPS):
        step = next(steps)
        told.append(
            {"loss": step.loss, "norm": step.gradient_norm, "audio": step.audio_seconds, "count": step.count}
            | step.metrics
        )
    return told, {name: each.detach().clone() for name, each in model.named_parameters()}


def exchanges(accumulate: int) -> dict[str, int]:
    """How often a step calls which collective operation."""
    model, settings = objective(), config(accumulate=accumulate)
    steps = train(model, adamw(model, settings.optimizer), map(batch, CUTS), settings, total=TOTAL)
    with profile() as profiled:
        next(steps)
    names = [event.name for event in profiled.events()]
    return dict(Counter(name for name in names if name.startswith("c10d::")))


def work(folder: Path) -> None:
    """What each process does: first all of them together, then two."""
    distributed.BUCKET = 1000  # several buckets, and parameters larger than one
    rank = int(os.environ["RANK"])
    for world, port in zip(WORLDS, os.environ["PORTS"].split(), strict=True):
        if rank >= world:
            return
        os.environ |= {"WORLD_SIZE": str(world), "MASTER_PORT": port}
        with distributed.session():
            assert distributed.world() == world
            assert distributed.gather("abcd"[rank]) == list("abcd"[:world])
            share = 4 // world
            for precision in PRECISIONS:
                # Of each step's four batches the first ones are rank 0's.
                cuts = [cut for number, cut in enumerate(CUTS) if number // share % world == rank]
                told, parameters = trained(cuts, share, precision)
                place = folder / f"{world}-{precision}-{rank}"
                save_file(parameters, place.with_suffix(".safetensors"))
                place.with_suffix(".json").write_text(json.dumps(told))
    with Log(folder / f"log{rank}", total=1) as log:
        log.row(1, {"loss": 1.0})


def together(folder: Path) -> None:
    """The last group of `work`, once more, for what does not depend on how many there are."""
    with distributed.session():
        model = objective()
        seconds = measure_step_seconds(
            model, lambda module: adamw(module, config().optimizer), map(batch, CUTS), config(), steps=4
        )
        assert distributed.gather(seconds) == [seconds] * distributed.world()
        assert distributed.first(lambda: distributed.rank() + 5) == 5
        with pytest.raises(OSError, match="of rank 0"):
            distributed.first(lambda: _fail())
        mine = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones((), dtype=torch.long)}
        spread = dict(distributed.spread(lambda: mine if distributed.rank() == 0 else {}))
        assert all(torch.equal(spread[name], mine[name]) for name in mine)
        once, thrice = exchanges(1), exchanges(3)
        assert once == thrice
        assert once["c10d::allreduce_"] == 6  # buckets


def _fail() -> None:
    raise OSError(f"of rank {distributed.rank()}")
