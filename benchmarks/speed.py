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
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile
import soxr

from sonorant.evaluate.rows import Row, write_rows
from sonorant.recipes.measuring import Measurer
from turns import Side, SideError, fastest, installed, side, way, ways

HERE = Path(__file__).parent
RESULTS, SPEECH = HERE / "results", HERE.parent / "tests" / "fixtures" / "speech"
UTTERANCES, SECONDS, RATE = 8, 4, 16000
CODES = 100  # of k-means
TOLERANCE = 0.1  # how far the numbers of parameters may be apart

# The peers' environments, and for each kind of work the peers that do it, with their own name for it.
ENVIRONMENTS = {
    "transformers": "transformers",
    "speechbrain": "speechbrain",
    "s3prl": "s3prl",
    "scikit-learn": "clusters",
    "faiss": "clusters",
}
WORKS: dict[str, dict[str, str]] = {
    "wav2vec2": {"transformers": "wav2vec2", "speechbrain": "wav2vec2"},
    "best_rq": {"speechbrain": "best_rq"},
    "apc": {"s3prl": "apc"},
    "ctc": {"transformers": "ctc"},
    "features": {"transformers": "features"},
    "kmeans": {"scikit-learn": "sklearn", "faiss": "faiss"},
}
TRAINING = ("wav2vec2", "best_rq", "apc", "ctc")  # what several processes can share


def compare(work: str, peer: str, task: dict[str, Any], *, rounds: int, quick: bool) -> dict[str, Any]:
    """Both sides in turn, and the machine's matrix rate. SideError: one fails, or their sizes differ."""
    environment = ENVIRONMENTS[peer]
    mine = {**task, "work": work, "beside": peer}
    theirs = {**task, "work": WORKS[work][peer]}
    precisions = ["fp32"] if work == "kmeans" else ["bf16"] if quick else ["bf16", "fp32"]
    found = ways(precisions=precisions, quick=quick, several=work in TRAINING)
    mine |= fastest("ours", mine, found)
    found = ways(precisions=precisions, quick=quick, several=False)
    theirs |= fastest(peer, theirs, found, environment=environment)
    machine = {**mine, "work": "rate", "threads": os.cpu_count() or 1, "processes": 1}
    rates = []
    with ExitStack() as stack:
        ours = stack.enter_context(side("ours", mine))
        other = stack.enter_context(side(peer, theirs, environment=environment))
        _check_sizes(ours, other)
        rate = stack.enter_context(side("ours", machine))
        for _ in range(rounds):
            ours.step()
            other.step()
            rate.step()
            rates.append(rate.value)
    low, high = interval(other.seconds, ours.seconds)
    return {
        "work": work,
        "size": task["size"],
        "precision": mine["precision"],
        "peer": peer,
        "ratio": median(other.seconds) / median(ours.seconds),
        "low": low,
        "high": high,
        "rate_share": counted(mine) / median(ours.seconds) / 1e9 / median(rates),
        "seconds": median(ours.seconds),
        "peer_seconds": median(other.seconds),
        "megabytes": ours.megabytes,
        "peer_megabytes": other.megabytes,
        "parameters": ours.parameters,
        "peer_parameters": other.parameters,
        "way": way(mine),
        "peer_way": way(theirs),
        "rounds": rounds,
    }


def _check_sizes(ours: Side, other: Side) -> None:
    if abs(other.parameters - ours.parameters) > TOLERANCE * ours.parameters:
        raise SideError(
            f"{other.name} has {other.parameters} parameters where ours has {ours.parameters}: more than "
            f"{TOLERANCE:.0%} apart (choose sizes in sides/serve.py that are alike)"
        )


def interval(slow: Sequence[float], quick: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the ratio of medians, by drawing rounds again."""
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(slow), size=(2000, len(slow)))
    ratios = np.median(np.array(slow)[drawn], axis=1) / np.median(np.array(quick)[drawn], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)


def counted(task: dict[str, Any]) -> float:
    """The arithmetic of one step of ours."""
    if task["work"] == "kmeans":
        return 0.0
    with side("ours", {**task, "work": "count", "counted": task["work"], "processes": 1}) as counting:
        counting.step()
        return counting.value


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
        measurer.row(mine, task, "parameters", result["parameters"]),
        measurer.row(theirs, task, "parameters", result["peer_parameters"]),
    ]  # fmt: skip


def page(results: Sequence[Mapping[str, Any]], command: str, written: Sequence[Row]) -> str:
    """All comparisons as one table."""
    head = ["work", "size", "peer", "ratio", "ours, s", "peer, s", "ours", "peer", "of the matrix rate"]
    head += ["MB", "peer's MB", "M parameters", "peer's"]
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
            *(f"{each[key] / 1e6:.2f}" for key in ("parameters", "peer_parameters")),
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
    parser.add_argument(
        "--peers", nargs="+", choices=list(ENVIRONMENTS), help="all; with --quick alone transformers"
    )
    parser.add_argument("--sizes", nargs="+", choices=["tiny", "base"], default=["tiny", "base"])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    rounds = 3 if options.quick else options.rounds
    results, failed = [], False
    with tempfile.TemporaryDirectory() as folder:
        audio = speech(Path(folder))
        for work, size, peer in chosen(options):
            task = {"size": size, "audio": str(audio), "codes": CODES}
            try:
                result = compare(work, peer, task, rounds=rounds, quick=options.quick)
            except SideError as error:  # the others go on
                print(error, file=sys.stderr)
                failed = True
                continue
            results.append(result)
            print(json.dumps(result) if options.json else _line(result), flush=True)
    if results and not options.quick:
        file = RESULTS / f"speed-{datetime.now(UTC):%Y-%m-%d}.jsonl"
        written = [row for result in results for row in rows(result)]
        write_rows(file, written)
        command = " ".join(["python benchmarks/speed.py", *sys.argv[1:]])
        file.with_suffix(".md").write_text(page(results, command, written), encoding="utf8")
    sys.exit(failed or not results)


def chosen(options: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """The comparisons that are asked for, as work, size and peer, with the peers that are installed."""
    short = options.quick and not options.works
    works = options.works or (["wav2vec2"] if short else list(WORKS))
    peers = options.peers or (["transformers"] if short else list(ENVIRONMENTS))
    for work in works:
        for peer in WORKS[work]:
            if peer in peers and not installed(ENVIRONMENTS[peer]):
                print(f"{work}: {peer} is not installed: make peers", file=sys.stderr)
            elif peer in peers:
                sizes = ["tiny"] if options.quick or work == "kmeans" else options.sizes
                yield from ((work, size, peer) for size in sizes)


def _line(result: Mapping[str, Any]) -> str:
    return (
        f"{result['work']:10s} {result['size']:5s} {result['peer']:13s} {result['ratio']:6.2f} times "
        f"[{result['low']:.2f}, {result['high']:.2f}]  {result['seconds']:.3f} s ({result['way']}) against "
        f"{result['peer_seconds']:.3f} s ({result['peer_way']}); "
        f"{result['rate_share']:.0%} of the matrix rate"
    )


if __name__ == "__main__":
    main()
