"""Sides that take turns: each in a process and an environment of its own, a step whenever it is told to."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

SIDES = Path(__file__).parent / "sides"
PEERS = Path(__file__).parent.parent / ".peers"  # an environment for each, made by `make peers`


class SideError(RuntimeError):
    """A side that cannot do its work, or does another one."""


@dataclass
class Side:
    """A process that does one kind of work when it is told to. SideError: it is gone."""

    name: str
    process: "subprocess.Popen[str]"
    errors: IO[str]  # its standard error
    parameters: int = 0  # of its model
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
def side(name: str, task: dict[str, Any], *, environment: str | None = None) -> Iterator[Side]:
    """Starts a side, waits until it is set up, and ends it. Without an environment it is ours.

    SideError: it fails; the last line of its standard error tells why.
    """
    python = str(PEERS / environment / "bin" / "python") if environment else sys.executable
    script = SIDES / (f"peer_{environment}.py" if environment else "ours.py")
    with tempfile.TemporaryFile("w+", encoding="utf8") as errors:
        process = subprocess.Popen(
            [python, str(script), json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(task["threads"] * task["processes"])},
        )
        try:
            started = Side(f"{name}, {task['work']} {task['size']}, {way(task)}", process, errors)
            started.parameters = started.told().get("parameters", 0)
            yield started
        finally:
            process.kill()
            process.wait()


def ways(*, precisions: Sequence[str], quick: bool, several: bool) -> list[dict[str, Any]]:
    """How work may be done: in which precision, with how many threads, and in how many processes."""
    cores = os.cpu_count() or 1
    threads = [(cores, 1)] if quick else [(cores, 1), (1, 1)]
    if several:
        threads.append((1, cores))
    return [
        {"precision": precision, "threads": each, "processes": processes}
        for precision in precisions
        for each, processes in threads
    ]


def fastest(
    name: str, task: dict[str, Any], found: Sequence[dict[str, Any]], *, environment: str | None = None
) -> dict[str, Any]:
    """The way in which a side is quickest, of three steps each."""
    if len(found) == 1:
        return found[0]
    times = []
    for each in found:
        with side(name, {**task, **each}, environment=environment) as tried:
            times.append(min(tried.step() for _ in range(3)))
    return found[times.index(min(times))]


def way(task: dict[str, Any]) -> str:
    return f"{task['precision']}, {task['processes']} x {task['threads']} threads"
