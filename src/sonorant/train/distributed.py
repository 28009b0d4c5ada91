"""Several processes that train as one, started here or by torchrun. A single process needs none of it.

Gradients are summed in plain buckets, not by DistributedDataParallel: it averages over ranks at the end of
every backward pass, while the one division here is by the number of targets of all ranks and accumulated
batches, which is known only after the last of them.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from sonorant.train import torchrun
from sonorant.train.processes import together
from sonorant.train.shared import memory

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
        with torchrun.joined():
            yield
    elif processes > 1 and work is not None and device().type == "cpu":
        with together(processes, work):
            yield
    else:
        yield


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


def first(work: Callable[[], T]) -> T:
    """What `work` gives on rank 0, on every rank; what it raises there is raised on all."""
    result: list[T] = []
    error: Exception | None = None
    if rank() == 0:
        try:
            result.append(work())
        except Exception as raised:  # noqa: BLE001 (it is raised below, on all ranks)
            error = raised
    told, cause = gather((result, error))[0]
    if cause is not None:
        raise error or cause  # on rank 0 with its traceback
    return told[0]


def spread(read: Callable[[], Mapping[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """The tensors that `read` gives on rank 0, one after the other, on every rank.

    One at a time, so that a rank that keeps a part of each never holds them all.
    """
    tensors: Mapping[str, Tensor] = {}

    def described() -> dict[str, tuple[torch.Size, torch.dtype]]:
        nonlocal tensors
        tensors = read()
        return {name: (each.shape, each.dtype) for name, each in tensors.items()}

    if world() == 1:
        yield from read().items()
        return
    for name, (shape, dtype) in first(described).items():
        value = torch.empty(shape, dtype=dtype, device=device())
        if rank() == 0:
            value.copy_(tensors[name])
        dist.broadcast(value, 0)
        yield name, value


@torch.no_grad()
def sum_gradients(gradients: Sequence[Tensor]) -> None:
    """Replaces each gradient by its sum over ranks, which bring the same ones in the same order."""
    if world() == 1 or not gradients:
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
