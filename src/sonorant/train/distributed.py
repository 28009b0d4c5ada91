"""Several processes that train as one, started here or by torchrun. A single process needs none of it.

Gradients are summed in plain buckets, not by DistributedDataParallel: it averages over ranks at the end of
every backward pass, while the one division here is by the number of targets of all ranks and accumulated
batches, which is known only after the last of them.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from sonorant.train.processes import memory, together

T = TypeVar("T")
BUCKET = 2**23  # numbers that are sent at once


@contextmanager
def session(processes: int = 1, work: Callable[[], object] | None = None) -> Iterator[None]:
    """Joins the processes that train together, and leaves them at the end, whatever happened.

    Those are torchrun's if it started this one; else, on a CPU, `processes` of which the others are started
    now to do `work`, the same as the caller. ProcessError: one of them is gone.
    """
    if dist.is_initialized():  # this is one of the others
        yield
    elif int(os.environ.get("WORLD_SIZE", "1")) > 1:
        with _torchrun():
            yield
    elif processes > 1 and work is not None and device().type == "cpu":
        with together(processes, work):
            yield
    else:
        yield


@contextmanager
def _torchrun() -> Iterator[None]:
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def device() -> torch.device:
    """The fastest device that this process may use."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def rank() -> int:
    """The number of this process, from 0; number 0 is the one that writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(value: T) -> list[T]:
    """The values of all ranks, in the order of ranks, on every rank."""
    if world() == 1:
        return [value]
    values: list[T | None] = [None] * world()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


@torch.no_grad()
def sum_gradients(gradients: Sequence[Tensor]) -> None:
    """Replaces each gradient by its sum over ranks, which bring the same ones in the same order."""
    if world() == 1:
        return
    shared = memory()
    if shared is not None and shared.sum(list(gradients)):
        return
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        dist.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in bucket])
        for gradient, part in zip(bucket, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one type, up to about `BUCKET` numbers each."""
    for _, alike in groupby(gradients, key=lambda gradient: gradient.dtype):
        bucket: list[Tensor] = []
        for gradient in alike:
            if bucket and sum(each.numel() for each in bucket) + gradient.numel() > BUCKET:
                yield bucket
                bucket = []
            bucket.append(gradient)
        yield bucket
