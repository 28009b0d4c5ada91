"""Guards the processes that are started here: they exchange, and nobody is left alone when one is gone."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import active_children

import pytest
import torch

from sonorant.train import distributed
from sonorant.train.processes import ProcessError, alone, together


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


def first(work: Callable[[], None], then: Callable[[], object]) -> None:
    """What the first process does while another one does `work`."""
    with together(2, work):
        distributed.gather(None)
        then()


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
        first(partial(lose, "hangs"), partial(signal.raise_signal, signal.SIGINT))
    assert time.monotonic() - began < 100


def test_outside_of_processes_alone_changes_nothing():
    with alone():
        assert torch.get_num_threads() == 2
