"""The table of objectives.py: rows that are kept, and the page and the picture made of all of them."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from comparisons import rewrite
from contest.correlation import Correlation, correlation
from contest.entries import Budget
from contest.figures import (
    BUDGET,
    CER,
    EFFECTIVE,
    LOSS,
    NATS,
    PHONES,
    PNMI,
    PURITY,
    RANKME,
    SPEAKERS,
    pairs,
    subjects,
    trained,
    values,
)
from contest.methods import BOUNDS
from contest.ranking import ABOUT as RANKING
from contest.ranking import ranking
from sonorant.evaluate.rows import Row, read_rows

KIND = "encoder parameters"  # whose row's task tells the kind of encoder
HEALTH = "diagnoses"
SHOWS = {"pretrain": KIND, "measure": PHONES, "finetune": CER}  # that a stage has ended
COLUMNS = {
    NATS: ("label-free, nats", "{:.3f}", 1),
    PHONES: ("phones", "{:.1%}", 1),
    SPEAKERS: ("speakers", "{:.1%}", 1),
    "CER dev": ("CER dev", "{:.1%}", 1),
    CER: ("CER test", "{:.1%}", 1),
    RANKME: ("RankMe", "{:.0f}", 1),
    EFFECTIVE: ("effective rank", "{:.0f}", 1),
    PNMI: ("PNMI", "{:.3f}", 1),
    PURITY: ("phone purity", "{:.1%}", 1),
    LOSS: ("last loss", "{:.4g}", 1),
    "seconds": ("pretraining, s", "{:.0f}", 1),
    "processor seconds": ("of processors, s", "{:.0f}", 1),
    "updates": ("updates", "{:.0f}", 1),
    "batch seconds": ("audio a batch, s", "{:.0f}", 1),
    "seconds of audio a second": ("audio a second, s", "{:.0f}", 1),
    "fine-tuning updates": ("fine-tuning updates", "{:.0f}", 1),
    KIND: ("M parameters", "{:.2f}", 1e6),
}  # a metric's heading, how its figures are written, and what they are divided by
ABOUT = """\
Everything is trained on the same recordings with as many updates as fit into the same processor time of each
process, the fitting of clusters among it, so that other work on the machine changes no number of updates.
`pretraining, s` is the wall time until the last checkpoint, the starting of processes and the decoding among
it, and `of processors, s` what all processes computed in it. All are trained around one encoder where it
fits, on the same log-mel frames; the second column tells where it does not. The label-free score is what the
best layer tells of the clusters of those frames 0.1 s on, which are the same for all. Phones and speakers are
named by a linear probe on each frame of the layer that does best on its validation part. Error rates are
those after fine-tuning on ten minutes of transcripts, with as many updates for all encoders of one shape; the
`untrained` are fine-tuned from scratch. Methods that compare utterances have larger batches. Means over
seeds, in brackets the lowest and the highest of them.
"""
ABSENT = (
    "- Published models, such as Whisper tiny.en's encoder, but for those in the table: their weights are "
    "not shipped (`--upstream NAME=FOLDER` adds one as another bound)."
)


class BudgetError(ValueError):
    """Rows of another budget than those that are there."""


def budget_rows(budget: Budget, like: Row) -> list[Row]:
    """What each contestant may spend, so that a file holds rows of one budget only."""
    values = {"pretraining minutes": budget.pretraining, "fine-tuning minutes": budget.finetuning}
    return [
        Row(benchmark=like.benchmark, subject=BUDGET, task="", metric=metric, value=value)
        for metric, value in {**values, "processes": budget.processes}.items()
    ]


def keep(file: Path, new: Sequence[Row], budget: Budget, wanted: Sequence[str]) -> None:
    """Adds rows to a file, in place of those of the same contestant, seed and metric, and makes its page and
    picture anew. BudgetError: the file has rows of another budget."""
    check(file, budget)
    rows = merged(read_rows(file) if file.exists() else [], [*budget_rows(budget, new[0]), *new])
    rewrite(file, rows)
    picture(rows, file.with_suffix(".png"))
    file.with_suffix(".md").write_text(page(rows, wanted, file.stem), encoding="utf8")


def check(file: Path, budget: Budget) -> None:
    """BudgetError: the file has rows of another budget."""
    if not file.exists():
        return
    rows = read_rows(file)
    values = {row.metric: row.value for row in rows if row.subject == BUDGET}
    for row in budget_rows(budget, rows[0]) if rows else ():
        if values.get(row.metric, row.value) != row.value:
            raise BudgetError(
                f"{file}: has {values[row.metric]:g} {row.metric}, not {row.value:g} "
                "(the same budget for all, or another --file)"
            )


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """The old rows without those that a new one replaces, and the new ones."""
    replaced = {_key(row) for row in new}
    return [*(row for row in old if _key(row) not in replaced), *new]


def _key(row: Row) -> tuple[str, int | None, str]:
    return row.subject, row.seed, row.metric


def page(rows: Sequence[Row], wanted: Sequence[str], stem: str) -> str:
    """The table, best error rates first, the correlations, and what is missing of the wanted contestants."""
    spent = {row.metric: row.value for row in rows if row.subject == BUDGET}
    names = sorted(subjects(rows), key=lambda name: _order(rows, name))
    commits, machines = (
        ", ".join(sorted({getattr(row, name) for row in rows if row.subject != BUDGET}))
        for name in ("commit", "machine")
    )
    head = ["", "encoder", *(heading for heading, _, _ in COLUMNS.values()), "health"]
    seeds = sorted({row.seed for row in rows if row.subject != BUDGET and row.seed is not None})
    command = (
        f"python benchmarks/objectives.py --minutes {spent['pretraining minutes']:g} "
        f"--finetune-minutes {spent['fine-tuning minutes']:g} --processes {spent['processes']:g} "
        f"--seeds {' '.join(map(str, seeds))}"
    )
    lines = [
        f"# Objectives beside each other, {stem.removeprefix('objectives-')}\n",
        f"`{command}`; commit {commits}; {machines}.\n",
        ABOUT,
        *(f"- {each}" for each in told(rows)),
        f"\n![error rates and phones against label-free scores]({stem}.png)\n",
        "| " + " | ".join(head) + " |",
        "|---|---|" + "---:|" * len(COLUMNS) + "---|",
        *("| " + " | ".join(_cells(rows, name)) + " |" for name in names),
        "\n## Which score ranks methods as labels do\n",
        RANKING,
        *ranking(rows),
        "\n## Missing\n",
        *missing(rows, wanted),
        ABSENT,
    ]
    return "\n".join(lines) + "\n"


def told(rows: Sequence[Row]) -> list[str]:
    """Whether a label-free score tells in advance what labels tell, over the methods that were trained."""
    lines = []
    for metric, sign in ((CER, "negative"), (PHONES, "positive")):
        both = list(pairs(rows, trained(rows), NATS, metric).values())
        found = correlation(*zip(*both, strict=True)) if both else None
        lines.append(
            f"{_named(metric)} against label-free score ({sign} is better): {_shown(found, len(both))}"
        )
    return lines


def _shown(found: Correlation | None, methods: int) -> str:
    if found is None:
        return f"{methods} methods are too few for a rank correlation"
    return (
        f"Spearman's rank correlation {found.value:.2f} [{found.low:.2f}, {found.high:.2f}] over "
        f"{found.n} methods (95 % interval over drawings of methods)"
    )


def missing(rows: Sequence[Row], wanted: Sequence[str]) -> list[str]:
    """A line for each contestant that lacks figures of a seed that others have."""
    seeds = sorted({row.seed for row in rows if row.subject != BUDGET and row.seed is not None})
    lines = []
    for name in wanted:
        shows = {"measure": PHONES} if name in BOUNDS else SHOWS
        lacks = []
        for seed in seeds:
            there = {row.metric for row in rows if (row.subject, row.seed) == (name, seed)}
            stages = [stage for stage, metric in shows.items() if metric not in there]
            lacks += [f"seed {seed} ({', '.join(stages)})"] if stages else []
        if lacks:
            lines.append(f"- {name}: {'; '.join(lacks)}")
    return lines or ["- Nothing of the contestants that there are."]


def _order(rows: Sequence[Row], subject: str) -> tuple[float, float]:
    rates, phones = (values(rows, subject, metric) for metric in (CER, PHONES))
    return (statistics.mean(rates) if rates else 9.0, -statistics.mean(phones) if phones else 0.0)


def _cells(rows: Sequence[Row], subject: str) -> list[str]:
    own = [row for row in rows if row.subject == subject]
    kinds = dict.fromkeys(row.task for row in own if row.metric == KIND)
    cells = [subject, ", ".join(kinds)]
    for metric, (_, form, unit) in COLUMNS.items():
        cells.append(_cell([value / unit for value in values(own, subject, metric)], form))
    diagnoses = [row for row in own if row.metric == HEALTH]
    ill = dict.fromkeys(row.task for row in diagnoses if row.value)
    cells.append("; ".join(ill).replace("|", "\\|") or ("no sign" if diagnoses else ""))
    return cells


def _cell(values: Sequence[float], form: str) -> str:
    if not values:
        return ""
    mean, low, high = (form.format(each) for each in (statistics.mean(values), min(values), max(values)))
    return mean if low == high else f"{mean} [{low}, {high}]"


def _named(metric: str) -> str:
    return COLUMNS[metric][0]


def picture(rows: Sequence[Row], file: Path) -> None:
    """Error rates and phone probes against label-free scores: a point for each contestant, with its name;
    hollow where nothing was trained without labels."""
    figure = Figure(figsize=(13, 5.5), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), (CER, PHONES), strict=True):
        for name, (nats, value) in pairs(rows, subjects(rows), NATS, metric).items():
            look = ("C0", "full") if name in trained(rows) else ("C7", "none")
            axes.plot(nats, value, "o", color=look[0], fillstyle=look[1])
            axes.annotate(name, (nats, value), textcoords="offset points", xytext=(4, 4), fontsize="small")
        axes.set_xlabel(_named(NATS))
        axes.set_ylabel(_named(metric))
        axes.margins(0.12)
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=100)
