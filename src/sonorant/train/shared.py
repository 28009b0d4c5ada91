"""Sums over the processes of one machine through memory that they share, instead of through sockets."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

RAM = Path("/dev/shm")  # noqa: S108 (a file system in memory; the file has no name once all have it open)
_memory: "SharedMemory | None" = None  # of the processes that are together now


@contextmanager
def sharing() -> Iterator[None]:
    """All processes of the group are on this machine, as long as this lasts: sums go through memory."""
    global _memory
    _memory = SharedMemory()
    try:
        yield
    finally:
        _memory = None


def memory() -> "SharedMemory | None":
    """What the processes of the group share, if all of them are on this machine."""
    return _memory


class SharedMemory:
    """A place for each process's tensors, twice: while one is read, the next sum may be written.

    Every process of the group makes the same calls.
    """

    def __init__(self) -> None:
        self._places = torch.empty(2, 0, 0)
        self._turn = 0
        self._usable = True

    def sum(self, tensors: list[Tensor]) -> bool:
        """Replaces each tensor by its sum over processes, in the order of ranks; False if it cannot be done
        here: they are not in single precision, or there is not enough memory to share."""
        sizes = [each.numel() for each in tensors]
        if not self._usable or any(each.dtype != torch.float32 for each in tensors):
            return False
        if sum(sizes) > self._places.shape[2] and not self._grow(sum(sizes)):
            return False
        self._turn = 1 - self._turn
        places = [
            [part.view_as(each) for part, each in zip(place[: sum(sizes)].split(sizes), tensors, strict=True)]
            for place in self._places[self._turn]
        ]
        torch._foreach_copy_(places[dist.get_rank()], tensors)
        dist.barrier()
        first, *others = places
        torch._foreach_copy_(tensors, first)
        for other in others:
            torch._foreach_add_(tensors, other)
        return True

    def _grow(self, size: int) -> bool:
        """Makes room for so many numbers of each process."""
        world = dist.get_world_size()
        path = [_reserve(2 * world * size * 4) if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(path)
        self._usable = path[0] is not None
        if path[0] is not None:
            room = torch.from_file(path[0], shared=True, size=2 * world * size)
            self._places = room.view(2, world, size)
            dist.barrier()  # all have it open
            if dist.get_rank() == 0:
                Path(path[0]).unlink()
        return self._usable


def _reserve(size: int) -> str | None:
    """A new file of so many bytes in memory; None where there is no such file system or too little room."""
    if not RAM.is_dir():
        return None
    handle, name = tempfile.mkstemp(prefix="sonorant-", dir=RAM)
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError:
        Path(name).unlink()
        return None
    finally:
        os.close(handle)
    return name
