"""Guards training in several processes: two of them do what one does with the same batches."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
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


def trained(cuts: list[list[int]], accumulate: int) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    torch.manual_seed(0)
    model = Uneven(dropout=0.0)
    settings = config(accumulate=accumulate)
    steps = train(model, adamw(model, settings.optimizer), map(batch, cuts), settings, total=TOTAL)
    told = []
    for _ in range(STEPS):
        step = next(steps)
        told.append(
            {"loss": step.loss, "norm": step.gradient_norm, "audio": step.audio_seconds, "count": step.count}
            | step.metrics
        )
    return told, {name: each.detach().clone() for name, each in model.named_parameters()}


def work(folder: Path) -> None:
    """What each of the two processes does."""
    with distributed.session():
        rank = distributed.rank()
        assert distributed.world() == 2
        distributed.BUCKET = 1000  # several buckets, and parameters larger than one
        assert distributed.gather("ab"[rank]) == ["a", "b"]
        # Of each step's four batches the first two are rank 0's.
        cuts = [cut for number, cut in enumerate(CUTS) if number // 2 % 2 == rank]
        told, parameters = trained(cuts, 2)
        save_file(parameters, folder / f"rank{rank}.safetensors")
        (folder / f"rank{rank}.json").write_text(json.dumps(told))
        model = objective()
        seconds = measure_step_seconds(
            model, lambda module: adamw(module, config().optimizer), map(batch, CUTS), config(), steps=4
        )
        assert distributed.gather(seconds) == [seconds, seconds]
        with Log(folder / f"log{rank}", total=1) as log:
            log.row(1, {"loss": 1.0})
    assert distributed.world() == 1


def test_two_processes_train_as_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    code = f"from pathlib import Path; import test_distributed as t; t.work(Path({str(tmp_path)!r}))"
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code],
            env={**os.environ, **address, "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": paths},
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors.decode()
    expected, parameters = trained(CUTS, 4)
    assert "mark" in expected[0]
    told = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert told[0] == told[1]
    for step, reference in zip(told[0], expected, strict=True):
        assert step == pytest.approx(reference, rel=1e-5)
    ranks = [load_file(tmp_path / f"rank{rank}.safetensors") for rank in range(2)]
    for name, value in parameters.items():
        assert torch.equal(ranks[0][name], ranks[1][name])
        torch.testing.assert_close(ranks[0][name], value, rtol=1e-4, atol=1e-6)
    assert (tmp_path / "log0" / "metrics.jsonl").exists()
    assert not (tmp_path / "log1").exists()


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
