"""This project beside its peers, in one run on one machine, step by step in turn.

    make peers                                          # an environment for each peer, once
    python benchmarks/speed.py                          # everything; more than an hour
    python benchmarks/speed.py --works hubert --sizes base    # or piece by piece
    python benchmarks/speed.py --quick --json           # one work, tiny, in less than a minute

Every side is first tried in each of its ways (precision; threads or processes), by the same rule: a step to
warm up, then the better of two, but no second one where the first takes over 1.5 times the best way's so far.
Then both run in their fastest ways. With --quick there is one way for both, bfloat16 and all cores. The
ratio is the peer's time over ours: above 1 this project is the faster one.

Rows go to results/speed-DATE.jsonl after each comparison, in place of those of the same work, size, precision
and peer; the page beside it is made of all of them.
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

from comparisons import keep, rows
from sonorant.recipes.measuring import Measurer
from turns import WARM_UPS, Side, SideError, fastest, installed, set_up, started, way, ways

HERE = Path(__file__).parent
RESULTS, SPEECH = HERE / "results", HERE.parent / "tests" / "fixtures" / "speech"
UTTERANCES, SECONDS, RATE = 8, 4, 16000
CODES = 100  # of k-means
TOLERANCE = 0.1  # how far the numbers of parameters may be apart
ROUNDS = {"tiny": 15, "base": 9}
QUICK_ROUNDS = 3

# The peers' environments, and for each kind of work the peers that do it, with their own name for it.
ENVIRONMENTS = {
    "transformers": "transformers",
    "speechbrain": "speechbrain",
    "fairseq": "fairseq",
    "s3prl": "s3prl",
    "scikit-learn": "clusters",
    "faiss": "clusters",
    "lightly": "lightly",
}
LOSSES = ("ntxent", "moco_loss", "byol_loss", "simsiam_loss", "barlow_twins_loss", "vicreg_loss")
WORKS: dict[str, dict[str, str]] = {
    "wav2vec2": {"transformers": "wav2vec2", "fairseq": "wav2vec2", "speechbrain": "wav2vec2"},
    "hubert": {"transformers": "hubert", "fairseq": "hubert"},
    "data2vec": {"fairseq": "data2vec"},
    "best_rq": {"speechbrain": "best_rq"},
    "apc": {"s3prl": "apc"},
    "vq_apc": {"s3prl": "vq_apc"},
    "npc": {"s3prl": "npc"},
    "mockingjay": {"s3prl": "mockingjay"},
    "tera": {"s3prl": "tera"},
    "ctc": {"transformers": "ctc"},
    "features": {"transformers": "features"},
    "kmeans": {"scikit-learn": "sklearn", "faiss": "faiss"},
    **{loss: {"lightly": loss} for loss in LOSSES},
}
PARTS = ("kmeans", *LOSSES)  # of one size, in single precision
ALONE = (*PARTS, "features")  # what several processes cannot share
ABOUT = (
    f"{UTTERANCES} x {SECONDS} s of speech a step. Ratios are the peer's median time over ours, with 95 %\n"
    "intervals over rounds; each side in its fastest way. A step of a loss alone (ntxent, *_loss) is 20\n"
    "passes over 256 embeddings of each view; a step of k-means is 20 iterations."
)


def compare(work: str, peer: str, task: dict[str, Any], *, rounds: int, quick: bool) -> dict[str, Any]:
    """Both sides in turn, and the machine's matrix rate. SideError: one fails, or their sizes differ."""
    environment = ENVIRONMENTS[peer]
    mine = {**task, "work": work, "beside": peer}
    theirs = {**task, "work": WORKS[work][peer]}
    precisions = ["fp32"] if work in PARTS else ["bf16"] if quick else ["bf16", "fp32"]
    found = ways(precisions=precisions, quick=quick, several=work not in ALONE)
    mine |= fastest("ours", mine, found)
    found = ways(precisions=precisions, quick=quick, several=False)
    theirs |= fastest(peer, theirs, found, environment=environment)
    counting = {**mine, "work": "machine", "counted": work, "threads": os.cpu_count() or 1, "processes": 1}
    rates = []
    with ExitStack() as stack:
        ours = stack.enter_context(started("ours", mine))
        other = stack.enter_context(started(peer, theirs, environment=environment))
        machine = stack.enter_context(started("ours", counting))
        set_up([ours, other, machine], warm_ups=1 if quick else WARM_UPS)
        _check_sizes(ours, other)
        for _ in range(rounds):
            ours.step()
            other.step()
            machine.step()
            rates.append(machine.value)
    low, high = interval(other.seconds, ours.seconds)
    return {
        "work": work,
        "size": task["size"],
        "precision": mine["precision"],
        "peer": peer,
        "ratio": median(other.seconds) / median(ours.seconds),
        "low": low,
        "high": high,
        "rate_share": machine.operations / median(ours.seconds) / 1e9 / median(rates),
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


def speech(folder: Path) -> Path:
    """Real speech from the test fixtures, cut into utterances of equal length."""
    waves: list[np.ndarray] = []
    for path in sorted(SPEECH.glob("*.flac")):
        if sum(map(len, waves)) >= UTTERANCES * SECONDS * RATE:
            break
        samples, rate = soundfile.read(path, dtype="float32")
        waves.append(soxr.resample(samples if samples.ndim == 1 else samples.mean(1), rate, RATE))
    joined = np.concatenate(waves)[: UTTERANCES * SECONDS * RATE]
    np.save(folder / "audio.npy", joined.reshape(UTTERANCES, -1).astype(np.float32))
    return folder / "audio.npy"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="tiny, a few rounds; nothing is written")
    parser.add_argument("--json", action="store_true", help="a result a line on the standard output")
    parser.add_argument("--works", nargs="+", choices=list(WORKS), help="all; with --quick wav2vec2")
    parser.add_argument(
        "--peers", nargs="+", choices=list(ENVIRONMENTS), help="all; with --quick alone transformers"
    )
    parser.add_argument("--sizes", nargs="+", choices=["tiny", "base"], default=["tiny", "base"])
    parser.add_argument("--rounds", type=int, help="15 at tiny size, 9 at base, 3 with --quick")
    options = parser.parse_args()
    file = RESULTS / f"speed-{datetime.now(UTC):%Y-%m-%d}.jsonl"
    measurer, done, failed = Measurer("speed"), 0, False
    with tempfile.TemporaryDirectory() as folder:
        audio = speech(Path(folder))
        for work, size, peer in chosen(options):
            task = {"size": size, "audio": str(audio), "codes": CODES}
            rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS[size])
            try:
                result = compare(work, peer, task, rounds=rounds, quick=options.quick)
            except SideError as error:  # the others go on
                print(error, file=sys.stderr)
                failed = True
                continue
            done += 1
            print(json.dumps(result) if options.json else _line(result), flush=True)
            if not options.quick:
                keep(file, rows(result, measurer), about=ABOUT)
    sys.exit(failed or not done)


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
                sizes = ["tiny"] if options.quick or work in PARTS else options.sizes
                yield from ((work, size, peer) for size in sizes)


def _line(result: Mapping[str, Any]) -> str:
    return (
        f"{result['work']:17s} {result['size']:5s} {result['peer']:13s} {result['ratio']:6.2f} times "
        f"[{result['low']:.2f}, {result['high']:.2f}]  {result['seconds']:.3f} s ({result['way']}) against "
        f"{result['peer_seconds']:.3f} s ({result['peer_way']}); "
        f"{result['rate_share']:.0%} of the matrix rate"
    )


if __name__ == "__main__":
    main()
