"""Guards training in several processes: they do what one does with the same batches."""

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Never

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.profiler import profile
from training_stub import Denoise, batch, config, objective

from sonorant.train import distributed
from sonorant.train.log import Log
from sonorant.train.loop import train
from sonorant.train.optim import adamw
from sonorant.train.timing import measure_step_seconds
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
            if world == 2:
                check_exchanges(rank)
                with Log(folder / f"log{rank}", total=1) as log:
                    log.row(1, {"loss": 1.0})


def check_exchanges(rank: int) -> None:
    model = objective()
    seconds = measure_step_seconds(
        model, lambda module: adamw(module, config().optimizer), map(batch, CUTS), config(), steps=4
    )
    assert distributed.gather(seconds) == [seconds, seconds]
    assert distributed.first(lambda: rank + 5) == 5
    with pytest.raises(OSError, match="of rank 0"):
        distributed.first(lambda: fail(rank))
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones((), dtype=torch.long)}
    spread = dict(distributed.spread(lambda: fail(rank) if rank else tensors))
    assert spread.keys() == tensors.keys()
    assert all(torch.equal(spread[name], tensors[name]) for name in tensors)
    once, thrice = exchanges(1), exchanges(3)
    assert once == thrice
    assert once["c10d::allreduce_"] > 0


def fail(rank: int) -> Never:
    raise OSError(f"of rank {rank}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What four processes left that trained together, and then two of them."""
    folder = tmp_path_factory.mktemp("distributed")
    with ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in WORLDS]
        for each in free:
            each.bind(("127.0.0.1", 0))
        ports = " ".join(str(each.getsockname()[1]) for each in free)
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    code = f"from pathlib import Path; import test_distributed as t; t.work(Path({str(folder)!r}))"
    address = {"MASTER_ADDR": "127.0.0.1", "PORTS": ports, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    with ExitStack() as stack:
        processes = []
        for rank in range(max(WORLDS)):
            environment = {**os.environ, **address, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            errors = stack.enter_context((folder / f"errors{rank}").open("wb"))
            words = [sys.executable, "-W", "error", "-c", code]
            process = stack.enter_context(subprocess.Popen(words, env=environment, stderr=errors))
            stack.callback(process.kill)
            processes.append(process)
        for rank, process in enumerate(processes):
            assert process.wait(timeout=280) == 0, (folder / f"errors{rank}").read_text()
    return folder


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("world", WORLDS)
def test_processes_train_as_one(folder, world, precision):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected, parameters = trained(CUTS, 4, precision)
    torch.set_num_threads(threads)
    assert "mark" in expected[0]
    places = [folder / f"{world}-{precision}-{rank}" for rank in range(world)]
    told = [json.loads(place.with_suffix(".json").read_text()) for place in places]
    assert told == [told[0]] * world
    # Before the first update the weights are the same; what follows is rounded to bfloat16 anew.
    later = 1e-6 if precision == "fp32" else 1e-3
    for number, (step, reference) in enumerate(zip(told[0], expected, strict=True)):
        assert step == pytest.approx(reference, rel=later if number else 1e-6)
    ranks = [load_file(place.with_suffix(".safetensors")) for place in places]
    for name, value in parameters.items():
        assert all(torch.equal(each[name], ranks[0][name]) for each in ranks)
        assert (ranks[0][name] - value).norm() <= later * value.norm()


def test_rank_0_alone_logs(folder):
    assert (folder / "log0" / "metrics.jsonl").exists()
    assert not (folder / "log1").exists()


def test_one_process_needs_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.session():
        assert (distributed.rank(), distributed.world()) == (0, 1)
        assert distributed.gather(3) == [3]
        gradient = torch.ones(2)
        distributed.sum_gradients([gradient])
        assert torch.equal(gradient, torch.ones(2))


def test_buckets_hold_every_gradient_once_in_order():
    gradients = [torch.zeros(size) for size in (3, 5, 900, 200, 2, 4000, 1)]
    gradients.append(torch.zeros(2, dtype=torch.float64))
    before = distributed.BUCKET
    distributed.BUCKET = 1000
    try:
        buckets = list(distributed._buckets(gradients))
    finally:
        distributed.BUCKET = before
    assert [len(each) for each in buckets] == [3, 2, 1, 1, 1]
    assert [id(each) for bucket in buckets for each in bucket] == [id(each) for each in gradients]
