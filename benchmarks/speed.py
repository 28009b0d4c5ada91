"""This project beside its peers, in one run on one machine, step by step in turn.

    make peers                                   # an environment for each peer, once
    python benchmarks/speed.py                   # everything; rows in results/speed-DATE.jsonl, with a page
    python benchmarks/speed.py --quick --json    # tiny sizes, about a minute

Every side is first tried in each of its ways (precision; threads or processes) and then runs in its fastest
one. The ratio is the peer's time over ours: above 1 this project is the faster one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile
import soxr

from sonorant.evaluate.rows import Row, write_rows
from sonorant.recipes.measuring import Measurer

HERE = Path(__file__).parent
SIDES, RESULTS, SPEECH = HERE / "sides", HERE / "results", HERE.parent / "tests" / "fixtures" / "speech"
PEERS = HERE.parent / ".peers"  # an environment for each, made by `make peers`
UTTERANCES, SECONDS, RATE = 8, 4, 16000
CODES = 100  # of k-means

# Each peer's environment, and the kinds of work that it does: ours, and its own name for it.
ENVIRONMENTS = {"transformers": "transformers", "scikit-learn": "clusters", "faiss": "clusters"}
WORKS: dict[str, dict[str, str]] = {
    "wav2vec2": {"transformers": "wav2vec2"},
    "ctc": {"transformers": "ctc"},
    "features": {"transformers": "features"},
    "kmeans": {"scikit-learn": "sklearn", "faiss": "faiss"},
}
TRAINING = ("wav2vec2", "ctc")  # what several processes can share


@dataclass
class Side:
    """A process that does one kind of work when it is told to."""

    name: str
    task: dict[str, Any]
    process: "subprocess.Popen[str]"
    seconds: list[float] = field(default_factory=list)
    megabytes: float = 0.0
    value: float = 0.0

    def step(self) -> float:
        """Does the work once; gives and keeps the seconds."""
        assert self.process.stdin is not None
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
        raise RuntimeError(f"{self.name} ended: {self.task}")


@contextmanager
def side(name: str, task: dict[str, Any]) -> Iterator[Side]:
    """Starts a side, waits until it is set up, and ends it."""
    peer = ENVIRONMENTS.get(name)
    python = str(PEERS / peer / "bin" / "python") if peer else sys.executable
    script = SIDES / (f"peer_{peer}.py" if peer else "ours.py")
    process = subprocess.Popen(
        [python, str(script), json.dumps(task)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(task["threads"] * task["processes"])},
    )
    try:
        started = Side(name, task, process)
        started.told()
        yield started
    finally:
        process.kill()
        process.wait()


def ways(name: str, work: str, *, quick: bool) -> list[dict[str, Any]]:
    """How a side may do the work: in which precision, with how many threads and processes."""
    cores = os.cpu_count() or 1
    threads = [(cores, 1)] if quick else [(cores, 1), (1, 1)]
    if name == "ours" and work in TRAINING:
        threads.append((1, cores))
    precisions = ["fp32"] if work == "kmeans" else ["bf16"] if quick else ["bf16", "fp32"]
    return [
        {"precision": precision, "threads": each, "processes": processes}
        for precision in precisions
        for each, processes in threads
    ]


def fastest(name: str, task: dict[str, Any], found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The way in which a side is quickest, of three steps each."""
    if len(found) == 1:
        return found[0]
    times = []
    for way in found:
        with side(name, {**task, **way}) as tried:
            times.append(min(tried.step() for _ in range(3)))
    return found[times.index(min(times))]


def compare(work: str, size: str, audio: Path, *, rounds: int, quick: bool) -> Iterator[dict[str, Any]]:
    """A result for each peer that is installed: both sides in turn, and the machine's matrix rate."""
    task = {"work": work, "size": size, "audio": str(audio), "codes": CODES}
    ours = fastest("ours", task, ways("ours", work, quick=quick))
    for peer, name in WORKS[work].items():
        if not (PEERS / ENVIRONMENTS[peer]).exists():
            print(f"{peer} is not installed: make peers", file=sys.stderr)
            continue
        theirs = fastest(peer, {**task, "work": name}, ways(peer, work, quick=quick))
        cores = os.cpu_count() or 1
        machine = {**task, "work": "rate", "precision": ours["precision"], "threads": cores, "processes": 1}
        with ExitStack() as stack:
            mine = stack.enter_context(side("ours", {**task, **ours}))
            other = stack.enter_context(side(peer, {**task, "work": name, **theirs}))
            rate = stack.enter_context(side("ours", machine))
            rates = []
            for _ in range(rounds):
                mine.step()
                other.step()
                rate.step()
                rates.append(rate.value)
        low, high = interval(other.seconds, mine.seconds)
        operations = counted(work, {**task, **ours})
        yield {
            "work": work,
            "size": size,
            "precision": ours["precision"],
            "peer": peer,
            "ratio": median(other.seconds) / median(mine.seconds),
            "low": low,
            "high": high,
            "rate_share": operations / median(mine.seconds) / 1e9 / median(rates),
            "seconds": median(mine.seconds),
            "peer_seconds": median(other.seconds),
            "megabytes": mine.megabytes,
            "peer_megabytes": other.megabytes,
            "way": _way(ours),
            "peer_way": _way(theirs),
            "rounds": rounds,
        }


def interval(slow: Sequence[float], quick: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the ratio of medians, by drawing rounds again."""
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(slow), size=(2000, len(slow)))
    ratios = np.median(np.array(slow)[drawn], axis=1) / np.median(np.array(quick)[drawn], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)


def counted(work: str, task: dict[str, Any]) -> float:
    """The arithmetic of one step of ours."""
    if work == "kmeans":
        return 0.0
    with side("ours", {**task, "work": "count", "counted": work, "processes": 1}) as counting:
        counting.step()
        return counting.value


def _way(way: Mapping[str, Any]) -> str:
    return f"{way['precision']}, {way['processes']} x {way['threads']} threads"


def speech(folder: Path) -> Path:
    """Real speech from the test fixtures, cut into utterances of equal length."""
    waves = []
    for path in sorted(SPEECH.glob("*.flac")):
        samples, rate = soundfile.read(path, dtype="float32")
        waves.append(soxr.resample(samples if samples.ndim == 1 else samples.mean(1), rate, RATE))
    joined = np.concatenate(waves)[: UTTERANCES * SECONDS * RATE]
    np.save(folder / "audio.npy", joined.reshape(UTTERANCES, -1).astype(np.float32))
    return folder / "audio.npy"


def rows(result: Mapping[str, Any]) -> list[Row]:
    """A comparison in the form that all benchmarks share."""
    measurer = Measurer("speed")
    task = f"{result['work']} {result['size']}, {UTTERANCES} x {SECONDS} s"
    mine, theirs = f"ours ({result['way']})", f"{result['peer']} ({result['peer_way']})"
    n = result["rounds"]
    return [
        measurer.row(mine, task, "seconds a step", result["seconds"], n=n),
        measurer.row(theirs, task, "seconds a step", result["peer_seconds"], n=n),
        measurer.row(f"{result['peer']} / ours", task, "ratio", result["ratio"],
                     low=result["low"], high=result["high"], n=n),
        measurer.row(mine, task, "share of the matrix rate", result["rate_share"], n=n),
        measurer.row(mine, task, "peak megabytes", result["megabytes"]),
        measurer.row(theirs, task, "peak megabytes", result["peer_megabytes"]),
    ]  # fmt: skip


def page(results: Sequence[Mapping[str, Any]], command: str, written: Sequence[Row]) -> str:
    """All comparisons as one table."""
    head = ["work", "size", "peer", "ratio", "ours, s", "peer, s", "ours", "peer", "of the matrix rate"]
    head += ["MB", "peer's MB"]
    lines = [
        f"# Speed, {datetime.now(UTC):%Y-%m-%d}\n",
        f"`{command}`, commit {written[0].commit}, {written[0].machine};",
        f"{UTTERANCES} x {SECONDS} s of speech a step. Ratios are the peer's median time over ours, with",
        "95 % intervals over rounds; each side in its fastest way.\n",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    for each in results:
        cells = (
            *(each[key] for key in ("work", "size", "peer")),
            f"**{each['ratio']:.2f}** [{each['low']:.2f}, {each['high']:.2f}]",
            *(f"{each[key]:.3f}" for key in ("seconds", "peer_seconds")),
            *(each[key] for key in ("way", "peer_way")),
            f"{each['rate_share']:.0%}",
            *(f"{each[key]:.0f}" for key in ("megabytes", "peer_megabytes")),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes in bfloat16, a few rounds; nothing is written"
    )
    parser.add_argument("--json", action="store_true", help="a result a line on the standard output")
    parser.add_argument("--works", nargs="+", choices=list(WORKS), help="all; with --quick wav2vec2")
    parser.add_argument("--sizes", nargs="+", choices=["tiny", "base"], default=["tiny", "base"])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    sizes, rounds = (["tiny"], 3) if options.quick else (options.sizes, options.rounds)
    works = options.works or (["wav2vec2"] if options.quick else list(WORKS))
    results, written = [], []
    with tempfile.TemporaryDirectory() as folder:
        audio = speech(Path(folder))
        for work in works:
            for size in sizes[:1] if work == "kmeans" else sizes:
                for result in compare(work, size, audio, rounds=rounds, quick=options.quick):
                    results.append(result)
                    written += rows(result)
                    print(json.dumps(result) if options.json else _line(result), flush=True)
    if written and not options.quick:
        file = RESULTS / f"speed-{datetime.now(UTC):%Y-%m-%d}.jsonl"
        write_rows(file, written)
        command = " ".join(["python benchmarks/speed.py", *sys.argv[1:]])
        file.with_suffix(".md").write_text(page(results, command, written), encoding="utf8")


def _line(result: Mapping[str, Any]) -> str:
    return (
        f"{result['work']:10s} {result['size']:5s} {result['peer']:13s} {result['ratio']:6.2f} times "
        f"[{result['low']:.2f}, {result['high']:.2f}]  {result['seconds']:.3f} s ({result['way']}) against "
        f"{result['peer_seconds']:.3f} s ({result['peer_way']}); "
        f"{result['rate_share']:.0%} of the matrix rate"
    )


if __name__ == "__main__":
    main()
