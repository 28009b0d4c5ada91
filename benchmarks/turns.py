"""Sides that take turns: each in a process and an environment of its own, a step whenever it is told to."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import IO, Any

SIDES = Path(__file__).parent / "sides"
PEERS = Path(__file__).parent.parent / ".peers"  # an environment for each, made by `make peers`
WARM_UPS = 2  # steps until memory is taken and kernels are chosen
DROPPED = 1.5  # times the best step so far: a way whose first step takes longer is not tried again


class SideError(RuntimeError):
    """A side that cannot do its work, or does another one."""


@dataclass
class Side:
    """A process that does one kind of work when it is told to. SideError: it is gone."""

    name: str
    process: "subprocess.Popen[str]"
    errors: IO[str]  # its standard error
    parameters: int = 0  # of its model
    operations: float = 0.0  # of a step, where it counts them
    seconds: list[float] = field(default_factory=list)
    megabytes: float = 0.0
    value: float = 0.0

    def step(self) -> float:
        """Does the work once; gives and keeps the seconds."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # then it has nothing more to tell either
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        told = self.told()
        self.seconds.append(told["seconds"])
        self.megabytes, self.value = told["megabytes"], told["value"]
        return self.seconds[-1]

    def told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        self.errors.seek(0)
        last = (self.errors.read().strip().splitlines() or ["it ended without a word"])[-1]
        raise SideError(f"{self.name}: {last}")


def installed(environment: str) -> bool:
    return (PEERS / environment / "bin" / "python").exists()


@contextmanager
def started(name: str, task: dict[str, Any], *, environment: str | None = None) -> Iterator[Side]:
    """Starts a side and ends it. Without an environment it is ours. What it does first is up to `set_up`, so
    that several can be started at once."""
    python = str(PEERS / environment / "bin" / "python") if environment else sys.executable
    script = SIDES / (f"peer_{environment}.py" if environment else "ours.py")
    with tempfile.TemporaryFile("w+", encoding="utf8") as errors:
        process = subprocess.Popen(
            [python, str(script), json.dumps({**task, "warm_ups": 0})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(task["threads"] * task["processes"])},
        )
        try:
            yield Side(f"{name}, {task['work']} {task['size']}, {way(task)}", process, errors)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(BrokenPipeError):  # of what it did not take any more
                    pipe.close()


def set_up(sides: Sequence[Side], *, warm_ups: int = WARM_UPS) -> None:
    """Waits until all have read their libraries, then has each of them do its first steps alone: at the same
    time they would be in each other's way. These are not counted.

    SideError: one fails; the last line of its standard error tells why.
    """
    for each in sides:
        told = each.told()
        each.parameters, each.operations = told["parameters"], told["operations"]
    for each in sides:
        for _ in range(warm_ups):
            each.step()
        each.seconds.clear()


def ways(*, precisions: Sequence[str], quick: bool, several: bool) -> list[dict[str, Any]]:
    """How work may be done: in which precision, with how many threads, and in how many processes; what is
    slow as a rule comes last."""
    cores = os.cpu_count() or 1
    shapes = [(cores, 1)]
    if not quick:
        shapes += [(1, cores), (1, 1)] if several else [(1, 1)]
    return [
        {"precision": precision, "threads": threads, "processes": processes}
        for threads, processes in dict.fromkeys(shapes)
        for precision in precisions
    ]


def fastest(
    name: str, task: dict[str, Any], found: Sequence[dict[str, Any]], *, environment: str | None = None
) -> dict[str, Any]:
    """The way in which a side is quickest: a step to warm up, then the better one of two. Where the first of
    them is over DROPPED times the best so far there is no second."""
    if len(found) == 1:
        return found[0]
    best, chosen = inf, found[0]
    for each in found:
        with started(name, {**task, **each}, environment=environment) as tried:
            set_up([tried], warm_ups=1)
            seconds = tried.step()
            if seconds <= DROPPED * best:
                seconds = min(seconds, tried.step())
        if seconds < best:
            best, chosen = seconds, each
    return chosen


def way(task: dict[str, Any]) -> str:
    return f"{task['precision']}, {task['processes']} x {task['threads']} threads"
