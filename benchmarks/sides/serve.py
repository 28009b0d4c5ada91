"""What every side of a comparison does: set up one kind of work, then do it once for each line it is sent.

It needs PyTorch and NumPy alone, because each peer runs in an environment of its own. A side waits for its
turn on its standard input, where it takes no processor time, so that several can take turns step by step.
"""

import json
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Work:
    """What is done again and again; it returns a figure, such as the loss."""

    step: Callable[[], float]
    parameters: int = 0  # of the model that does it
    operations: float = 0.0  # of the work that it counts, where it does so


Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of two views' embeddings, `batch dim` each

ITERATIONS = 20  # of k-means

# Of the networks behind wav2vec 2.0's convolutions, stacked log-mel frames, and (three) log-mel frames.
SIZES: dict[str, dict[str, dict[str, int]]] = {
    "wav2vec2": {
        "tiny": {"dim": 192, "layers": 4, "heads": 4, "feedforward": 768, "channels": 128},
        "base": {"dim": 768, "layers": 12, "heads": 12, "feedforward": 3072, "channels": 512},
    },
    "conformer": {
        "tiny": {"dim": 192, "layers": 4, "heads": 4, "expansion": 4},
        "base": {"dim": 576, "layers": 12, "heads": 8, "expansion": 4},
    },
    "gru": {"tiny": {"dim": 256, "layers": 3}, "base": {"dim": 512, "layers": 3}},
    "transformer": {
        "tiny": {"dim": 192, "layers": 4, "heads": 4, "feedforward": 768},
        "base": {"dim": 768, "layers": 3, "heads": 12, "feedforward": 3072},
    },
    "masked_convolutions": {"tiny": {"dim": 128, "layers": 4}, "base": {"dim": 512, "layers": 4}},
}
MELS, STACK = 80, 4
TOP_LAYERS = 8  # of data2vec's teacher, where there are so many
# The losses of two views, and how wide their embeddings are: as published, but for the last two, which have
# 8192 there, and matrices of a quarter of a gigabyte.
WIDTHS = {
    "ntxent": 128,
    "moco_loss": 128,
    "byol_loss": 256,
    "simsiam_loss": 2048,
    "barlow_twins_loss": 2048,
    "vicreg_loss": 2048,
}
EMBEDDINGS, QUEUE, TEMPERATURE = 256, 4096, 0.1
PASSES = 20  # of such a loss, which takes milliseconds, in a step


def serve(works: Mapping[str, Callable[[dict[str, Any]], Work]]) -> None:
    """Does what the first argument describes, as JSON."""
    task = json.loads(sys.argv[1])
    torch.set_num_threads(task["threads"])
    torch.manual_seed(0)
    work = works[task["work"]](task)
    for _ in range(task.get("warm_ups", 2)):  # memory is taken, kernels are chosen
        work.step()
    tell({"ready": True, "parameters": work.parameters, "operations": work.operations})
    for _ in sys.stdin:
        began = time.perf_counter()
        value = work.step()
        seconds = time.perf_counter() - began
        tell({"seconds": seconds, "value": value, "megabytes": peak()})


def tell(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def peak() -> float:
    """The most memory that this process and those it started have held, in megabytes; what they can share,
    which is libraries and shared memory, counts once."""
    processes = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    own, shared = zip(*map(_held, processes), strict=True)
    return (sum(own) + max(shared)) / 1024


def _held(process: int | None) -> tuple[int, int]:
    """The peak of what a process holds for itself, and what it may share, in kilobytes."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf8")
    held = {name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", status, re.MULTILINE)}
    shared = held["RssFile"] + held["RssShmem"]
    return held["VmHWM"] - shared, shared


def audio(task: dict[str, Any]) -> torch.Tensor:
    """Real speech, `batch samples` at 16 kHz, the same for every side."""
    return torch.from_numpy(np.load(task["audio"]))


def points(task: dict[str, Any]) -> torch.Tensor:
    """Windows of 80 samples, for k-means: as wide as frames of features."""
    return audio(task).unfold(1, 80, 80).flatten(0, 1).contiguous()


def units(task: dict[str, Any], frames: int) -> torch.Tensor:
    """A cluster's number for each of the frames of each utterance, `batch frames`: drawn once, the same for
    every side, because naming frames is another work."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(task["codes"], (len(audio(task)), frames), generator=generator)


def views(work: str) -> torch.Tensor:
    """Embeddings of two views for a loss, `2 batch dim`, with gradients."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, EMBEDDINGS, WIDTHS[work], generator=generator).requires_grad_()


def loss_alone(loss: Loss, task: dict[str, Any]) -> Work:
    """A loss of two views' embeddings, forward and backward, PASSES times."""
    both = views(task["work"])

    def step() -> float:
        total = 0.0
        for _ in range(PASSES):
            both.grad = None
            value = loss(*both)
            value.backward()
            total += float(value.detach())
        return total / PASSES

    return Work(step)


def size(task: dict[str, Any], network: str) -> dict[str, int]:
    return SIZES[network][task["size"]]


def autocast(task: dict[str, Any]) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=task["precision"] == "bf16")


def parameters(model: torch.nn.Module) -> int:
    """How many there are, also of those that are not trained."""
    return sum(each.numel() for each in model.parameters())


def training(model: torch.nn.Module, loss: Callable[[], torch.Tensor], task: dict[str, Any]) -> Work:
    """A step as one writes it: forward, backward, clipping, AdamW."""
    trained = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    model.train()

    def step() -> float:
        optimizer.zero_grad()
        with autocast(task):
            value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained, 5.0)
        optimizer.step()
        return float(value.detach())

    return Work(step, parameters(model))
