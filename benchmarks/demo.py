"""The demo over several seeds: rows in results/demo-MINUTESmin.jsonl, with a page and a picture beside.

    python benchmarks/demo.py --minutes 15 --seeds 0 1 2

A seed whose rows are in the file already is not run again; the runs' folders stay in --out.
"""

import argparse
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from matplotlib.figure import Figure

from sonorant.evaluate.rows import Row, read_rows, write_rows
from sonorant.recipes.demo import run_demo

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("demo"))
    options = parser.parse_args()
    file = RESULTS / f"demo-{options.minutes:g}min.jsonl"
    done = {row.seed for row in read_rows(file)} if file.exists() else set()
    for seed in options.seeds:
        if seed in done:
            continue
        folder = options.out / f"{options.minutes:g}min-seed{seed}"
        write_rows(file, run_demo(options.out / "corpus", folder, minutes=options.minutes, seed=seed))
        rows = read_rows(file)
        file.with_suffix(".md").write_text(page(rows, options.minutes), encoding="utf8")
        picture(rows, file.with_suffix(".png"))


def page(rows: Sequence[Row], minutes: float) -> str:
    """Means over seeds with the lowest and highest, and how much pretraining took off the error rates."""
    seeds = sorted({row.seed for row in rows if row.seed is not None})
    commits, machines = (sorted({getattr(row, name) for row in rows}) for name in ("commit", "machine"))
    command = f"python benchmarks/demo.py --minutes {minutes:g} --seeds {' '.join(map(str, seeds))}"
    where = f"{datetime.now(UTC):%Y-%m-%d}; commit {', '.join(commits)}; {'; '.join(machines)}"
    lines = [
        f"# The demo at {minutes:g} minutes\n",
        f"`{command}`, {where}.\n",
        *(f"- {line}" for line in reductions(rows, seeds)),
        f"\n![error rates, phones and label-free scores of each seed](demo-{minutes:g}min.png)\n",
        "| subject | task | metric | mean | lowest | highest | seeds |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for key in dict.fromkeys((row.subject, row.task, row.metric) for row in rows):
        values = [row.value for row in rows if (row.subject, row.task, row.metric) == key]
        figures = (statistics.mean(values), min(values), max(values))
        cells = [*key, *(f"{figure:.4g}" for figure in figures), str(len(values))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def reductions(rows: Sequence[Row], seeds: Sequence[int]) -> list[str]:
    """A line for CER and one for WER: from scratch, fine-tuned, and the relative reduction of each seed."""
    told = []
    for metric in ("CER", "WER"):
        values = {(row.subject, row.seed): row.value for row in rows if row.metric == metric}
        pairs = [(values["scratch", seed], values["finetuned", seed]) for seed in seeds]
        reduced = ", ".join(f"{1 - new / old:.1%}" for old, new in pairs)
        old, new = (statistics.mean(side) for side in zip(*pairs, strict=True))
        told.append(f"{metric}: {old:.1%} from scratch, {new:.1%} fine-tuned; relative reduction {reduced}")
    return told


def picture(rows: Sequence[Row], file: Path) -> None:
    """Every seed as a dot: character error rates, phone probes and label-free scores."""
    panels = {"CER": "character error rate", "accuracy": "phone probe", "nats": "label-free score (nats)"}
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    for axes, (metric, title) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        shown = sorted((row for row in rows if row.metric == metric), key=lambda row: row.subject)
        axes.plot([row.value for row in shown], [row.subject for row in shown], "o", alpha=0.6)
        axes.set_title(title, fontsize="medium")
        axes.grid(axis="y", alpha=0.3)
        axes.margins(y=0.15)
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main()
