"""The processes that torchrun started, through its restarts."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from sonorant.train.processes import PATIENCE, ProcessError
from sonorant.train.shared import sharing

PORT = "sonorant/port"


@contextmanager
def joined() -> Iterator[None]:
    """Joins the other processes, and leaves them at the end. ProcessError: rank 0 is not there."""
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        dist.init_process_group(backend, store=_store(rank), rank=rank, world_size=world, timeout=PATIENCE)
    else:
        dist.init_process_group(backend, timeout=PATIENCE)
    # gloo's sockets are slow beside memory, where all processes have the same
    here = os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]
    try:
        with sharing() if here and backend == "gloo" else nullcontext():
            yield
    finally:
        dist.destroy_process_group()


def _store(rank: int) -> TCPStore:
    """A place to exchange addresses that is as young as these processes.

    torchrun's own outlives them: after a restart the addresses of dead processes are still in it
    (pytorch/pytorch#135712), and a restart has no number that all machines agree on. So rank 0 opens another
    one and leaves its port in torchrun's; whoever finds a port where nobody listens looks again.
    """
    host = os.environ["MASTER_ADDR"]
    lasting = TCPStore(host, int(os.environ["MASTER_PORT"]), is_master=False, timeout=PATIENCE)
    if rank == 0:
        store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=PATIENCE)
        lasting.set(PORT, str(store.port))
        return store
    limit = time.monotonic() + PATIENCE.total_seconds()
    while not _listens(host, port := int(lasting.get(PORT))):
        if time.monotonic() > limit:
            raise ProcessError(f"{host}:{port}: rank 0 is not there: see what it says, and start again")
        time.sleep(0.1)
    return TCPStore(host, port, is_master=False, timeout=PATIENCE)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True
