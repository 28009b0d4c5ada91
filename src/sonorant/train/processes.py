"""Several processes on one machine's cores, started here: what torchrun does, without torchrun.

Small networks gain little from a second thread, whose work is too short to share out; a second process with
a batch of its own does better.
"""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

import torch
import torch.distributed as dist

from sonorant.train.shared import sharing

HOST = "127.0.0.1"
PATIENCE = timedelta(minutes=30)  # of processes that wait for one that validates
STARTING, ENDING = 300.0, 60.0  # seconds that a process may take to be there, and to end once the first has
_threads = 0  # to share out; 0 while nothing is shared


class ProcessError(ValueError):
    """A process that trained with this one is gone."""


@contextmanager
def together(count: int, work: Callable[[], object]) -> Iterator[None]:
    """Starts `count` - 1 processes that do `work` beside what the caller does within, and joins them all.

    `work` must be picklable and take part in the same exchanges as the caller. The cores are shared out.
    Whatever the caller's end, the others end with it. ProcessError: one of them is gone; what made it fail,
    if it could tell, is raised instead.
    """
    global _threads
    store = dist.TCPStore(  # type: ignore[attr-defined]
        HOST, 0, is_master=True, wait_for_workers=False, timeout=PATIENCE
    )
    _threads = torch.get_num_threads()
    shared = max(1, _threads // count)
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads that do not run
    others: list[tuple[SpawnProcess, Connection]] = []
    try:
        for rank in range(1, count):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_other, args=(work, rank, count, store.port, shared, theirs))
            process.start()
            theirs.close()
            others.append((process, ours))
        for _, pipe in others:
            _await(pipe)
        torch.set_num_threads(shared)
        dist.init_process_group("gloo", store=store, rank=0, world_size=count, timeout=PATIENCE)
        with sharing():
            yield
        _join(others)
    except RuntimeError as error:  # so gloo tells of a lost connection
        cause = _cause(others)
        if cause is None and _waited_in_vain(error):
            cause = ProcessError(
                f"one of {count} processes did not answer for {PATIENCE} and is ended: the same command goes "
                "on from the last checkpoint"
            )
        if cause is None:
            raise
        raise cause from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        torch.set_num_threads(_threads)
        _threads = 0
        for process, pipe in others:
            process.kill()  # one that is stopped does not hear anything else
            process.join()
            pipe.close()


@contextmanager
def alone() -> Iterator[None]:
    """All the threads that `together` shared out, for what one process does while the others wait."""
    shared = torch.get_num_threads()
    torch.set_num_threads(_threads or shared)
    try:
        yield
    finally:
        torch.set_num_threads(shared)


def _other(
    work: Callable[[], object], rank: int, count: int, port: int, threads: int, pipe: Connection
) -> None:
    """The life of a process that was started. What goes wrong is for the first one to tell."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the first one, which ends this one
    torch.set_num_threads(threads)
    try:
        store = dist.TCPStore(HOST, port, is_master=False, timeout=PATIENCE)  # type: ignore[attr-defined]
        pipe.send(True)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=PATIENCE)
        with sharing():
            work()
    except Exception as error:  # noqa: BLE001 (it is raised in the first process)
        with suppress(OSError):  # the first one may be gone itself
            pipe.send(error)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _await(pipe: Connection) -> None:
    """Waits until a process is there: what it raised may tell why it never comes."""
    if not pipe.poll(STARTING):
        raise ProcessError(f"a process did not start in {STARTING:g} s: try again, or train.processes=1")
    if _told(pipe) is not True:
        raise RuntimeError("a process did not start")


def _join(others: list[tuple[SpawnProcess, Connection]]) -> None:
    """Waits for those that have nothing left to do. ProcessError: one does not end."""
    limit = time.monotonic() + ENDING
    for process, _ in others:
        process.join(timeout=max(0.0, limit - time.monotonic()))
        if process.exitcode is None:
            raise ProcessError(
                f"one of {len(others) + 1} processes hangs {ENDING:g} s after the first one was done, and is "
                "ended: all is written, and the same command says so"
            )


def _told(pipe: Connection) -> object:
    """What a process says next; None if it is gone without a word."""
    try:
        return pipe.recv()
    except EOFError:
        return None


def _cause(others: list[tuple[SpawnProcess, Connection]]) -> Exception | None:
    """Why an exchange failed, if another process knows: what it raised, or that it was killed."""
    for process, pipe in others:
        process.join(timeout=5)
        told = _told(pipe) if pipe.poll() else None
        if isinstance(told, Exception) and not isinstance(told, RuntimeError):
            return told
        if process.exitcode:
            return ProcessError(
                f"one of {len(others) + 1} processes is gone (exit code {process.exitcode}), perhaps for "
                "want of memory: take smaller batches, or train.processes=1"
            )
    return None


def _waited_in_vain(error: RuntimeError) -> bool:
    """Whether gloo gave up waiting, for which it has no type of its own."""
    return "Timed out waiting" in str(error)
