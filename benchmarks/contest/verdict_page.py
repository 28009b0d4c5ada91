"""The page and the picture of behaviour.py: what was expected, what came about, and whether it agrees."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from contest.experiments import EXPERIMENTS, Claim, Experiment
from contest.figures import FORMS, HEALTH, LOSS, seeds, shown, values
from contest.keeping import origin, spent
from contest.noise import SNR
from contest.verdicts import verdict
from sonorant.evaluate.rows import Row

ABOUT = f"""\
Each experiment compares variants of one method that are alike in encoder, data, seed and number of updates,
as many as fit into the budget's processor minutes of each process with its first variant. `holds`: the
difference lies above 0 with its whole 95 % interval; `does not hold`: below; else `within the interval`. The
interval is that of measuring (over test utterances, the variants taken as independent; of figures of the log
the span of their last tenth) or that over seeds, whichever is wider. With one seed it knows nothing of the
luck of training. Differences of accuracies are in points. Training is minutes where papers have days: what
does not show here may show later. Noise is {SNR:g} dB below speech, from white to brown, made as PASE+'s
distortions make theirs.

What needs no training time is held by tests (tests/objectives/test_collapse.py): without the stopped gradient
SimSiam collapses, whole it does not and neither does VICReg; BEST-RQ's labels without normalised frames; what
wav2vec 2.0 shows when its codebook is down to one code.
"""
PER_ROW = 3  # panels of the picture


def show(rows: Sequence[Row], file: Path) -> None:
    """The page and the picture of rows, beside their file."""
    picture(rows, file.with_suffix(".png"))
    file.with_suffix(".md").write_text(page(rows, file.stem), encoding="utf8")


def page(rows: Sequence[Row], stem: str) -> str:
    """All verdicts as a table, then each experiment with its figures."""
    budget = spent(rows)
    command = (
        f"python benchmarks/behaviour.py --minutes {budget['pretraining minutes']:g} "
        f"--processes {budget['processes']:g} --seeds {' '.join(map(str, seeds(rows)))}"
    )
    lines = [
        f"# Behaviour that papers promise, {stem.removeprefix('behaviour-')}\n",
        f"`{command}`; {origin(rows)}.\n",
        ABOUT,
        "| | figure | more | less | difference | seeds | |",
        "|---|---|---|---|---:|---:|---|",
        *(_verdict(rows, each, claim) for each in EXPERIMENTS for claim in each.claims),
        f"\n![each variant's figures]({stem}.png)",
    ]
    for experiment in EXPERIMENTS:
        lines += _section(rows, experiment)
    return "\n".join(lines) + "\n"


def _verdict(rows: Sequence[Row], experiment: Experiment, claim: Claim) -> str:
    heading, form, unit = _form(claim.metric)
    found = verdict(rows, experiment, claim)
    if found is None:
        cells = (" or ".join(claim.more), " or ".join(claim.less), "", "0", "not measured")
    else:
        signed = form.replace("{:", "{:+")
        difference, *ends = (signed.format(each / unit) for each in (found.difference, found.low, found.high))
        interval = f"{difference} [{', '.join(ends)}]"
        cells = (found.more, found.less, interval, str(found.seeds), f"**{found.word}**")
    return "| " + " | ".join((experiment.name, heading, *cells)) + " |"


def _section(rows: Sequence[Row], experiment: Experiment) -> list[str]:
    metrics = list(dict.fromkeys([*(claim.metric for claim in experiment.claims), *experiment.watched]))
    metrics += [LOSS, "updates"]
    lines = [
        f"\n## {experiment.name}\n",
        f"{experiment.expected} ({experiment.paper})\n",
        "| | settings | " + " | ".join(_form(metric)[0] for metric in metrics) + " | health |",
        "|---|---|" + "---:|" * len(metrics) + "---|",
    ]
    for variant, words in experiment.variants.items():
        subject = experiment.subject(variant)
        cells = [variant, " ".join(f"`{word}`" for word in words)]
        for metric in metrics:
            _, form, unit = _form(metric)
            cells.append(shown([value / unit for value in values(rows, subject, metric)], form))
        told = [row for row in rows if (row.subject, row.metric) == (subject, HEALTH)]
        ill = "; ".join(dict.fromkeys(row.task for row in told if row.value))
        cells.append(ill.replace("|", "\\|") or ("no sign" if told else "not trained"))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _form(metric: str) -> tuple[str, str, float]:
    """A metric's heading, how its figures are written, and what they are divided by."""
    return FORMS.get(metric, (metric.replace("_", " "), "{:.4g}", 1))


def picture(rows: Sequence[Row], file: Path) -> None:
    """A panel for each experiment and figure: a point for each variant and seed, with its interval."""
    panels = [
        (experiment, metric)
        for experiment in EXPERIMENTS
        for metric in dict.fromkeys(claim.metric for claim in experiment.claims)
        if any(values(rows, experiment.subject(variant), metric) for variant in experiment.variants)
    ]
    high = max(1, -(-len(panels) // PER_ROW))
    figure = Figure(figsize=(5 * PER_ROW, 4 * high), layout="constrained")
    grid = list(figure.subplots(high, PER_ROW, squeeze=False).flat)
    for axes in grid:
        axes.set_visible(False)
    for axes, (experiment, metric) in zip(grid, panels, strict=False):
        axes.set_visible(True)
        for place, variant in enumerate(experiment.variants):
            subject = experiment.subject(variant)
            own = [row for row in rows if (row.subject, row.metric) == (subject, metric)]
            for number, row in enumerate(own):
                ends = [[row.value - _end(row.low, row)], [_end(row.high, row) - row.value]]
                x = place + 0.1 * (number - (len(own) - 1) / 2)
                axes.errorbar(x, row.value, yerr=ends, fmt="o", color=f"C{(row.seed or 0) % 10}", capsize=3)
        axes.set_xticks(range(len(experiment.variants)), list(experiment.variants), rotation=20, ha="right")
        axes.set_title(experiment.name)
        axes.set_ylabel(_form(metric)[0])
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=80)


def _end(value: float | None, row: Row) -> float:
    return row.value if value is None else value
