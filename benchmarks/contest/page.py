"""The table of objectives.py: the page and the picture that are made of all rows."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from contest.command import SPLIT
from contest.correlation import Correlation, correlation
from contest.figures import (
    CER,
    COLUMNS,
    HEALTH,
    KIND,
    NATS,
    PHONES,
    pairs,
    seeds,
    shown,
    subjects,
    trained,
    values,
)
from contest.keeping import origin, spent
from contest.methods import BOUNDS
from contest.ranking import ABOUT as RANKING
from contest.ranking import ranking
from sonorant.evaluate.rows import Row

SHOWS = {"pretrain": KIND, "measure": PHONES, "finetune": CER}  # that a stage has ended
ABOUT = """\
Everything is trained on the same recordings, those of the Amazon Queen whatever it is measured on, with as
many updates as fit into the same processor time of each process, the fitting of clusters among it, so that
other work on the machine changes no number of updates. `pretraining, s` is the wall time until the last
checkpoint, the starting of processes and the decoding among it, and `of processors, s` what all processes
computed in it. All are trained around one encoder where it fits, on the same log-mel frames; the second
column tells where it does not. The label-free score is what the best layer tells of the clusters of those
frames 0.1 s on, less their level, which are the same for all; beside it what that layer tells of clusters of
its own. Phones and speakers are named by a linear probe on each frame of the layer that does best on its
validation part.
Error rates are those after fine-tuning on ten minutes of transcripts, which reads a weighted sum of all
layers, with as many updates for all encoders of one shape; the `untrained` are fine-tuned from scratch.
Methods that compare utterances have larger batches. Means over seeds, in brackets the lowest and the
highest of them.
"""
ABSENT = (
    "- Published models, such as Whisper tiny.en's encoder, but for those in the table: their weights are "
    "not shipped (`--upstream NAME=FOLDER` adds one as another bound)."
)


def show(wanted: Sequence[str], rows: Sequence[Row], file: Path) -> None:
    """The page and the picture of rows, beside their file."""
    picture(rows, file.with_suffix(".png"))
    file.with_suffix(".md").write_text(page(rows, wanted, file.stem), encoding="utf8")


def page(rows: Sequence[Row], wanted: Sequence[str], stem: str) -> str:
    """The table, best error rates first, the correlations, and what is missing of the wanted contestants."""
    budget = spent(rows)
    names = sorted(subjects(rows), key=lambda name: _order(rows, name))
    head = ["", "encoder", *(heading for heading, _, _ in COLUMNS.values()), "health"]
    command = (
        f"python benchmarks/objectives.py --minutes {budget['pretraining minutes']:g} "
        f"--finetune-minutes {budget['fine-tuning minutes']:g} --processes {budget['processes']:g} "
        f"--seeds {' '.join(map(str, seeds(rows)))}"
        + "".join(f" --speech {name} --pretrained runs/objectives" for name in SPLIT if f"-{name}-" in stem)
    )
    lines = [
        f"# Objectives beside each other, {stem.removeprefix('objectives-')}\n",
        f"`{command}`; {origin(rows)}.\n",
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
            f"{_named(metric)} against label-free score ({sign} is better): {_correlated(found, len(both))}"
        )
    return lines


def _correlated(found: Correlation | None, methods: int) -> str:
    if found is None:
        return f"{methods} methods are too few for a rank correlation"
    return (
        f"Spearman's rank correlation {found.value:.2f} [{found.low:.2f}, {found.high:.2f}] over "
        f"{found.n} methods (95 % interval over drawings of methods)"
    )


def missing(rows: Sequence[Row], wanted: Sequence[str]) -> list[str]:
    """A line for each contestant that lacks figures of a seed that others have."""
    lines = []
    for name in wanted:
        shows = {"measure": PHONES} if name in BOUNDS else SHOWS
        lacks = []
        for seed in seeds(rows):
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
        cells.append(shown([value / unit for value in values(own, subject, metric)], form))
    diagnoses = [row for row in own if row.metric == HEALTH]
    ill = dict.fromkeys(row.task for row in diagnoses if row.value)
    cells.append("; ".join(ill).replace("|", "\\|") or ("no sign" if diagnoses else ""))
    return cells


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
