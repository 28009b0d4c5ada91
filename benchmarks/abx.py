"""Time of ABX against the number of items, exact and drawn, beside fastabx on the same items.

    make .peers/fastabx/.done PYTHON=python3.12      # the peer, once; without it only ours is timed
    python benchmarks/abx.py                         # rows in results/abx-DATE.jsonl, with a page
    python benchmarks/abx.py --quick                 # few items; nothing is written

Items are made up, of 3 to 20 frames: a time depends on numbers and lengths, not on what is said. Each time is
the median of rounds in turn; a comparison of more than a minute begins no further round. Drawn are, as in
ZeroSpeech's evaluation, 10 items of a phone, context and speaker, and 5 speakers of X.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import median
from typing import get_args

import torch

from comparisons import rewrite
from sonorant.evaluate.abx import abx
from sonorant.evaluate.cells import Speakers
from sonorant.evaluate.items import Items, drawn
from sonorant.evaluate.rows import Row, table
from sonorant.recipes.measuring import Measurer

HERE = Path(__file__).parent
PEER = HERE.parent / ".peers" / "fastabx" / "bin" / "python"
PHONES, SPEAKERS, DIM, LIMIT, OTHERS = 40, 20, 192, 10, 5
FEW = 4  # phones that a context has
LONG = 60.0  # seconds after which a comparison begins no further round


def made_up(count: int, *, same: bool, limit: int | None) -> Items:
    """Items of 3 to 20 frames about their phone's and their speaker's centres; two of a kind on average."""
    generator = torch.Generator().manual_seed(0)
    contexts = max(1, count // (2 * FEW * SPEAKERS)) if same else 1
    labels, context, speakers = (
        torch.randint(high, (count,), generator=generator)
        for high in (FEW if same else PHONES, contexts, SPEAKERS)
    )
    labels = (labels + 7 * context) % PHONES
    if limit is not None:
        kept = drawn(torch.stack([labels, context, speakers], 1), limit, 0)
        labels, context, speakers = labels[kept], context[kept], speakers[kept]
    lengths = torch.randint(3, 21, (len(labels),), generator=generator)
    centres, voices = (torch.randn(n, DIM, generator=generator) for n in (PHONES, SPEAKERS))
    frames = (centres[labels] + voices[speakers]).repeat_interleave(lengths, 0)
    return Items(
        frames=frames + 4 * torch.randn(frames.shape, generator=generator),
        lengths=lengths,
        labels=labels,
        contexts=context,
        speakers=speakers,
        clips=torch.arange(len(labels)) // 30,
        names=tuple(f"p{number:02d}" for number in range(PHONES)),
        voices=tuple(f"s{number:02d}" for number in range(SPEAKERS)),
        unknown=0,
    )


def ours(items: Items, speakers: Speakers, others: int | None) -> tuple[float, float]:
    """Seconds and the error."""
    started = time.perf_counter()
    result = abx(items, speakers=speakers, other_speakers=others)
    return time.perf_counter() - started, result.error


def fastabx(file: Path, speakers: str, others: int | None) -> tuple[float, float]:
    """The same in the peer's process. Its items were drawn by us, its speakers of X it draws itself."""
    limit = None if others is None else LIMIT
    task = {"items": str(file), "speakers": speakers, "limit": limit, "other_speakers": others}
    task["threads"] = torch.get_num_threads()
    words = [str(PEER), str(HERE / "sides" / "peer_fastabx.py"), json.dumps(task)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout.splitlines()[-1])
    return told["seconds"], told["error"]


def compare(count: int, speakers: Speakers, *, same: bool, exact: bool, rounds: int) -> Iterator[Row]:
    limit, others = (None, None) if exact else (LIMIT, OTHERS)
    items = made_up(count, same=same, limit=limit)
    mine, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "items.pt"
        marks = {"label": items.labels, "context": items.contexts, "speaker": items.speakers}
        torch.save({"frames": items.frames, "lengths": items.lengths, **marks}, file)
        began = time.monotonic()
        while len(mine) < rounds and (not mine or time.monotonic() - began < LONG):
            mine.append(ours(items, speakers, others))
            if PEER.exists():
                theirs.append(fastabx(file, speakers, others))
    measurer = Measurer("abx speed")
    where = "the same context" if same else "any context"
    task = f"{count} phones in {where}, {speakers} speakers, {'exact' if exact else 'drawn'}"
    for name, told in (("ours", mine), ("fastabx", theirs)):
        if told:
            seconds = [each for each, _ in told]
            yield measurer.row(
                name, task, "seconds", median(seconds), low=min(seconds), high=max(seconds), n=len(told)
            )
            yield measurer.row(name, task, "error rate", told[0][1], n=len(items.lengths))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few items, one round; nothing is written")
    parser.add_argument("--counts", nargs="+", type=int, default=[1000, 3000, 10_000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    counts, rounds = ([1000], 1) if options.quick else (options.counts, options.rounds)
    if not PEER.exists():
        print("fastabx is not installed: make .peers/fastabx/.done PYTHON=python3.12", file=sys.stderr)
    file = HERE / "results" / f"abx-{datetime.now(UTC):%Y-%m-%d}.jsonl"
    written: list[Row] = []
    for count in counts:
        for speakers, same, exact in product(get_args(Speakers), (True, False), (True, False)):
            found = list(compare(count, speakers, same=same, exact=exact, rounds=rounds))
            written += found
            print(table(found), flush=True)
            if not options.quick:  # after each, because the next one may take an hour
                rewrite(file, written)
                file.with_suffix(".md").write_text(page(written, rounds), encoding="utf8")


def page(rows: Sequence[Row], rounds: int) -> str:
    counts = " ".join(dict.fromkeys(row.task.partition(" ")[0] for row in rows))
    return (
        f"# ABX, {datetime.now(UTC):%Y-%m-%d}\n\n"
        f"`python benchmarks/abx.py --counts {counts} --rounds {rounds}`; commit {rows[0].commit}; "
        f"{rows[0].machine}.\nOf seconds n is the rounds that were run, and the interval goes from the "
        f"fastest to the slowest.\n\n{table(rows)}\n"
    )


if __name__ == "__main__":
    main()
