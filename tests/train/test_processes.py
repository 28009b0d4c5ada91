"""Guards the processes that are started here: they exchange, and nobody is left alone when one is gone."""

import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from multiprocessing import active_children

import pytest
import torch

from sonorant.train import distributed, processes
from sonorant.train.processes import ProcessError, alone, together
from sonorant.train.shared import memory


def exchange(found: list[object]) -> None:
    found += distributed.gather((distributed.rank(), torch.get_num_threads()))


def lose(how: str) -> None:
    distributed.gather(None)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "raises":
        raise OSError(28, "No space left on device", "somewhere")
    if how == "hangs":
        signal.pause()
    if how == "stops":
        os.kill(os.getpid(), signal.SIGSTOP)


def first(work: Callable[[], None], then: Callable[[], object]) -> None:
    """What the first process does while another one does `work`."""
    with together(2, work):
        distributed.gather(None)
        then()


def interrupt() -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    assert not active_children()
    assert distributed.world() == 1
    torch.set_num_threads(threads)


def test_processes_exchange_and_share_out_the_threads():
    found: list[object] = []
    with together(2, partial(exchange, [])):
        exchange(found)
        assert torch.get_num_threads() == 1
        with alone():
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 1
    assert found == [(0, 1), (1, 1)]


def add(found: list[tuple[bool, list[torch.Tensor]]]) -> None:
    """Sums again and again, more numbers each time; once of a kind that is not shared."""
    rank = distributed.rank()
    for turn in range(6):
        dtype = torch.float64 if turn == 3 else torch.float32
        tensors = [torch.full((3, 4), 10.0 * rank + turn, dtype=dtype), (rank + 1.0) * torch.arange(9 * turn)]
        if turn % 2 and rank:
            time.sleep(0.05)  # one is ahead
        distributed.sum_gradients(tensors)
        found.append((memory()._places.shape[2] > 0, tensors))


@pytest.mark.parametrize("shared", [True, False])
def test_sums_are_those_of_all_processes(monkeypatch, tmp_path, shared):
    if not shared:
        monkeypatch.setattr("sonorant.train.shared.RAM", tmp_path / "none")
    found: list[tuple[bool, list[torch.Tensor]]] = []
    with together(2, partial(add, [])):
        add(found)
    for turn, (used, (first, second)) in enumerate(found):
        assert used == shared
        assert torch.equal(first, torch.full_like(first, 10 + 2 * turn))
        assert torch.equal(second, 3.0 * torch.arange(9 * turn))


@pytest.mark.parametrize(
    ("how", "error", "told"),
    [
        ("killed", ProcessError, r"one of 2 processes is gone \(exit code -9\).*train.processes=1"),
        ("raises", OSError, "No space left on device"),
    ],
)
def test_a_lost_process_ends_the_others_and_tells_why(how, error, told):
    with pytest.raises(error, match=told):
        first(partial(lose, how), lambda: distributed.gather(None))


def test_the_others_end_with_the_first():
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        first(partial(lose, "hangs"), interrupt)
    assert time.monotonic() - began < 100


def test_a_process_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr(processes, "ENDING", 0.3)
    with pytest.raises(ProcessError, match=r"one of 2 processes hangs 0.3 s after the first one was done"):
        first(partial(lose, "stops"), lambda: None)


def test_a_process_that_does_not_answer_is_ended(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", timedelta(seconds=5))
    with pytest.raises(ProcessError, match=r"one of 2 processes did not answer for 0:00:05"):
        first(partial(lose, "hangs"), lambda: distributed.gather(None))


def test_outside_of_processes_alone_changes_nothing():
    with alone():
        assert torch.get_num_threads() == 2
