"""Every bound on mutual information against the truth, where that is known in closed form.

    python benchmarks/information.py           # rows in results/information-DATE.jsonl, a page and a picture
    python benchmarks/information.py --quick   # a corner of the sweep; nothing is written

Gaussians of d dimensions that correlate by rho share -d/2 log(1 - rho^2) nats; a symmetric channel of m
inputs that errs with probability e carries log m + (1-e) log(1-e) + e log(e / (m-1)). Each bound is fitted
and measured as `sonorant measure` does it, with its default settings, on n pairs of each part, in utterances
of 100 pairs.
"""

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import msgspec
import numpy as np
import torch
from matplotlib.figure import Figure as Picture

from sonorant.evaluate.critics import CriticConfig, critic_bound
from sonorant.evaluate.information import InformationConfig, bound, clustered
from sonorant.evaluate.later import Later
from sonorant.evaluate.rows import Row, table, write_rows
from sonorant.evaluate.sampling import Examples, Sections
from sonorant.recipes.measuring import CRITICS, Measurer

RESULTS = Path(__file__).parent / "results"
PER = 100  # pairs of an utterance
CODES = (20, 100, 500)
LINEAR = 0.1  # nats up to which the picture's axes are linear; above they are logarithmic


def gaussian(pairs: int, dim: int, rho: float, seed: int) -> Later:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(pairs, dim, generator=generator)
    y = rho * x + (1 - rho**2) ** 0.5 * torch.randn(pairs, dim, generator=generator)
    return Later(x, y, torch.arange(pairs) // PER)


def gaussians(dim: int, rho: float, pairs: int, seed: int) -> Iterator[Row]:
    """The truth, then each bound."""
    measurer = Measurer("information", seed)
    task = f"Gaussians d={dim}, rho={rho}, n={pairs}"
    yield measurer.row("truth", task, "nats", -dim / 2 * math.log(1 - rho**2))
    parts = [
        gaussian(count, dim, rho, 3 * seed + part) for part, count in enumerate((pairs, pairs // 8, pairs))
    ]
    for name in CRITICS:
        began = time.perf_counter()
        found = critic_bound(parts, name, CriticConfig(seed=seed))
        yield measurer.row(
            name, task, "nats", found.value, low=found.low, high=found.high, n=pairs // PER,
            seconds=time.perf_counter() - began,
        )  # fmt: skip
    for codes in CODES:
        began = time.perf_counter()
        config = InformationConfig(seed=seed, codes=codes)
        told = bound(clustered(parts, config), config)
        yield measurer.row(
            f"clusters, K={codes}", task, "nats", told.nats, low=told.low, high=told.high, n=pairs // PER,
            seconds=time.perf_counter() - began,
        )  # fmt: skip


def channel(inputs: int, error: float, pairs: int, seed: int) -> Iterator[Row]:
    """The truth, then the bound of labels."""
    generator = torch.Generator().manual_seed(seed)

    def part(count: int) -> Examples:
        sent = torch.randint(inputs, (count,), generator=generator)
        wrong = torch.rand(count, generator=generator) < error
        moved = torch.randint(1, inputs, (count,), generator=generator)
        heard = torch.where(wrong, (sent + moved) % inputs, sent)
        return Examples(torch.eye(inputs)[heard], sent, torch.arange(count) // PER)

    measurer = Measurer("information", seed)
    task = f"symmetric channel m={inputs}, e={error}, n={pairs}"
    truth = math.log(inputs) + (1 - error) * math.log(1 - error) + error * math.log(error / (inputs - 1))
    yield measurer.row("truth", task, "nats", truth)
    config = msgspec.structs.replace(InformationConfig(seed=seed), learning_rates=(1e-3, 1e-2, 1e-1))
    began = time.perf_counter()
    told = bound(Sections(part(pairs), part(pairs // 8), part(pairs)), config)
    yield measurer.row(
        "labels", task, "nats", told.nats, low=told.low, high=told.high, n=pairs // PER,
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def above(rows: Sequence[Row]) -> list[str]:
    """The bounds that lie above the truth by more than their intervals."""
    truths = {(row.task, row.seed): row.value for row in rows if row.subject == "truth"}
    return [
        f"{row.subject}, {row.task}"
        for row in rows
        if row.low is not None and row.low > truths[row.task, row.seed]
    ]


def draw(rows: Sequence[Row], file: Path) -> None:
    """Each bound against the truth, a panel for each number of pairs."""
    sizes = list(dict.fromkeys(row.task.rpartition(", ")[2] for row in rows))
    figure = Picture(figsize=(5 * len(sizes), 4.6), layout="constrained")
    panels = figure.subplots(1, len(sizes), squeeze=False, sharex=True, sharey=True)[0]
    truths = {row.task: row.value for row in rows if row.subject == "truth"}
    for axes, size in zip(panels, sizes, strict=True):
        here = [row for row in rows if row.task.endswith(size) and row.subject != "truth"]
        for place, subject in enumerate(dict.fromkeys(row.subject for row in here)):
            points = sorted((truths[row.task], row.value) for row in here if row.subject == subject)
            axes.plot(*zip(*points, strict=True), "o", ms=4, color=f"C{place}", label=subject, alpha=0.8)
        reach = np.geomspace(LINEAR, max(truths.values()), 50)
        axes.plot([0, *reach], [0, *reach], "k--", linewidth=1, label="truth")
        axes.set_xscale("symlog", linthresh=LINEAR)  # bounds of little lie on both sides of 0
        axes.set_yscale("symlog", linthresh=LINEAR)
        axes.set_title(size, loc="left")
        axes.set_xlabel("nats that there are")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("nats that the bound tells")
    panels[0].legend(fontsize=8)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a corner of the sweep; nothing is written")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    dims, rhos, sizes, seeds = (1, 2, 8, 32), (0.0, 0.3, 0.6, 0.9), (3000, 30_000), range(options.seeds)
    channels = ((2, 0.1), (2, 0.4), (8, 0.1), (40, 0.3))
    if options.quick:
        dims, rhos, sizes, seeds, channels = (2,), (0.6,), (3000,), range(1), channels[:1]
    rows: list[Row] = []
    for seed, pairs in product(seeds, sizes):
        points = [gaussians(dim, rho, pairs, seed) for dim, rho in product(dims, rhos)]
        points += [channel(inputs, error, pairs, seed) for inputs, error in channels]
        for point in points:
            found = list(point)
            rows += found
            print(table(found), flush=True)
    told = sum(row.low is not None for row in rows)
    line = f"{len(above(rows))} of {told} bounds lie above the truth by more than their 95 % intervals"
    print(line, *above(rows), sep="\n")
    if not options.quick:
        file = RESULTS / f"information-{datetime.now(UTC):%Y-%m-%d}.jsonl"
        write_rows(file, rows)
        draw(rows, file.with_suffix(".png"))
        head = f"# Bounds against the truth, {datetime.now(UTC):%Y-%m-%d}\n\n"
        head += f"`python benchmarks/information.py --seeds {options.seeds}`; commit {rows[0].commit}; "
        head += f"{rows[0].machine}.\n\n"
        head += f"![bounds against the truth]({file.stem}.png)\n\n{line}.\n\n"
        file.with_suffix(".md").write_text(head + table(rows) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
