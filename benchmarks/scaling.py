"""Several processes against what the cores allow, in one run on one machine, in turn.

    python benchmarks/scaling.py                   # results/scaling-DATE.jsonl, with a page; about 15 minutes
    python benchmarks/scaling.py --manifest demo/corpus/untranscribed.jsonl --batch-seconds 60 --steps 3
    python benchmarks/scaling.py --quick --json    # a few steps, nothing is written

What the cores allow is measured, not multiplied: as many processes as in the run, one thread each, with the
same batches, beside each other and without a word between them. A run of several processes, started by
`train.processes` or by torchrun, is set against that.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from sonorant.evaluate.rows import Row, write_rows
from sonorant.recipes.measuring import Measurer
from speed import RESULTS, SPEECH, interval
from turns import SIDES, Side

ALONE, APART = "one process", "apart"
TOGETHER = ("train.processes", "torchrun")
WORLDS = (2, 4)


@contextmanager
def started(way: str, task: Mapping[str, Any]) -> Iterator[Side]:
    """A run, once it is set up; it ends when it hears no more."""
    processes = task["processes"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    # `together` shares its threads out; one each is left
    threads = processes if way == "train.processes" else 1
    with tempfile.TemporaryFile("w+", encoding="utf8") as errors:
        process = subprocess.Popen(
            [
                *(sys.executable, *(launcher if way == "torchrun" else [])),
                *(str(SIDES / "steps.py"), json.dumps(task)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        side = Side(way, process, errors)
        try:
            side.told()
            yield side
        finally:
            if process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.close()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.terminate()  # torchrun ends what it started
                process.wait()


def groups(
    stack: ExitStack, task: Mapping[str, Any], worlds: Sequence[int]
) -> dict[tuple[str, int], list[Side]]:
    """All runs that take turns; those apart are several that take theirs at once."""
    found = {
        (ALONE, 1): [stack.enter_context(started(ALONE, {**task, "processes": 1, "world": 1, "rank": 0}))]
    }
    for world in worlds:
        found[APART, world] = [
            stack.enter_context(started(APART, {**task, "processes": 1, "world": world, "rank": rank}))
            for rank in range(world)
        ]
        for way in TOGETHER:
            run = {**task, "processes": world, "world": world}
            found[way, world] = [stack.enter_context(started(way, run))]
    return found


def turn(sides: Sequence[Side], pool: ThreadPoolExecutor) -> float:
    """The seconds of audio that the sides take in each second, all at once, until the last one is done."""
    began = time.perf_counter()
    list(pool.map(Side.step, sides))
    return sum(side.value for side in sides) / (time.perf_counter() - began)


def measured(
    task: Mapping[str, Any], worlds: Sequence[int], rounds: int
) -> dict[tuple[str, int], list[float]]:
    """Of each way and number of processes, the seconds of audio a second in every round."""
    with ExitStack() as stack, ThreadPoolExecutor(max(worlds)) as pool:
        sides = groups(stack, task, worlds)
        rates: dict[tuple[str, int], list[float]] = {way: [] for way in sides}
        for _ in range(rounds):
            for way, each in sides.items():
                rates[way].append(turn(each, pool))
    return rates


def results(rates: Mapping[tuple[str, int], Sequence[float]]) -> Iterator[dict[str, Any]]:
    """Each way's rate, against one process and against what the cores allow."""
    for (way, world), found in rates.items():
        ideal = rates.get((APART, world), found)
        result: dict[str, Any] = {"way": way, "processes": world, "rounds": len(found)}
        for name, reference in {"rate": [1.0] * len(found), "gain": rates[ALONE, 1], "share": ideal}.items():
            low, high = interval(found, reference)
            result[name] = {"value": median(found) / median(reference), "low": low, "high": high}
        yield result


def rows(result: Mapping[str, Any], task: Mapping[str, Any]) -> list[Row]:
    """A way in the form that all benchmarks share."""
    measurer = Measurer("scaling")
    subject = f"{result['processes']} x 1 thread, {result['way']}"
    what = f"{task['config']}, {task['precision']}, {task['batch_seconds']} s a process and step"
    metrics = {
        "rate": "seconds of audio a second",
        "gain": "rate over one process's",
        "share": "rate over processes apart",
    }
    return [
        measurer.row(subject, what, metric, **result[name], n=result["rounds"])
        for name, metric in metrics.items()
    ]


def page(found: Sequence[Mapping[str, Any]], task: Mapping[str, Any], written: Sequence[Row]) -> str:
    """All ways as one table."""
    lines = [
        f"# Several processes, {datetime.now(UTC):%Y-%m-%d}\n",
        f"`{' '.join(['python benchmarks/scaling.py', *sys.argv[1:]])}`, commit {written[0].commit},",
        f"{written[0].machine};",
        f"`{task['config']}` in {task['precision']}, {task['batch_seconds']} s of audio a process and step,",
        "one thread each. Medians over rounds, in brackets 95 % intervals. Apart: as many",
        "processes that train on their own at the same time, which is what the cores allow.\n",
        "| processes | way | s of audio a second | times one process | of what the cores allow |",
        "|---|---|---|---|---|",
    ]
    for each in found:
        cells = [each["processes"], each["way"], *(_cell(each[name]) for name in ("rate", "gain", "share"))]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: Mapping[str, float]) -> str:
    return f"{value['value']:.3g} [{value['low']:.3g}, {value['high']:.3g}]"


def _line(result: Mapping[str, Any]) -> str:
    rate, gain, share = (_cell(result[name]) for name in ("rate", "gain", "share"))
    way = f"{result['processes']} x {result['way']:16s}"
    return f"{way} {rate} s/s, {gain} times one process, {share} of what the cores allow"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="two processes, two short rounds; nothing is written"
    )
    parser.add_argument("--json", action="store_true", help="a result a line on the standard output")
    parser.add_argument("--config", default="best_rq", help="a shipped configuration of pretraining")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--manifest", type=Path, default=SPEECH / "manifest.jsonl")
    parser.add_argument("--batch-seconds", type=float, default=20, help="of each process")
    parser.add_argument("--steps", type=int, default=8, help="in a turn")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    task = {
        "work": "stretch",
        "config": options.config,
        "precision": options.precision,
        "batch_seconds": options.batch_seconds,
        "threads": 1,
        "steps": 1 if options.quick else options.steps,
        "manifest": str(options.manifest.resolve()),
    }
    worlds, rounds = (WORLDS[:1], 2) if options.quick else (WORLDS, options.rounds)
    found = list(results(measured(task, worlds, rounds)))
    for result in found:
        print(json.dumps(result) if options.json else _line(result))
    if not options.quick:
        written = [row for result in found for row in rows(result, task)]
        file = RESULTS / f"scaling-{datetime.now(UTC):%Y-%m-%d}.jsonl"
        write_rows(file, written)
        file.with_suffix(".md").write_text(page(found, task, written), encoding="utf8")


if __name__ == "__main__":
    main()
