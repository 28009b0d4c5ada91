"""What every side of a comparison does: set up one kind of work, then do it once for each line it is sent.

It needs PyTorch and NumPy alone, because each peer runs in an environment of its own. A side waits for its
turn on its standard input, where it takes no processor time, so that several can take turns step by step.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

Work = Callable[[dict[str, Any]], Callable[[], float]]
"""From a task to what is done again and again; it returns a figure, such as the loss."""

ITERATIONS = 20  # of k-means

SIZES: dict[str, dict[str, int]] = {
    "tiny": {"dim": 192, "layers": 4, "heads": 4, "feedforward": 768, "channels": 128},
    "base": {"dim": 768, "layers": 12, "heads": 12, "feedforward": 3072, "channels": 512},
}


def serve(works: Mapping[str, Work]) -> None:
    """Runs the task that the first argument describes, as JSON."""
    task = json.loads(sys.argv[1])
    torch.set_num_threads(task["threads"])
    torch.manual_seed(0)
    step = works[task["work"]](task)
    for _ in range(2):  # memory is taken, kernels are chosen
        step()
    tell({"ready": True})
    for _ in sys.stdin:
        began = time.perf_counter()
        value = step()
        seconds = time.perf_counter() - began
        tell({"seconds": seconds, "value": value, "megabytes": peak()})


def tell(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def peak() -> float:
    """The most memory that this process has held, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def audio(task: dict[str, Any]) -> torch.Tensor:
    """Real speech, `batch samples` at 16 kHz, the same for every side."""
    return torch.from_numpy(np.load(task["audio"]))


def points(task: dict[str, Any]) -> torch.Tensor:
    """Windows of 80 samples, for k-means: as wide as frames of features."""
    return audio(task).unfold(1, 80, 80).flatten(0, 1).contiguous()


def size(task: dict[str, Any]) -> dict[str, int]:
    return SIZES[task["size"]]


def autocast(task: dict[str, Any]) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=task["precision"] == "bf16")


def training(
    model: torch.nn.Module, loss: Callable[[], torch.Tensor], task: dict[str, Any]
) -> Callable[[], float]:
    """A step as one writes it: forward, backward, clipping, AdamW."""
    parameters = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
    model.train()

    def step() -> float:
        optimizer.zero_grad()
        with autocast(task):
            value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        return float(value)

    return step
