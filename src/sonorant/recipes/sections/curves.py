"""How training went: the loss, then the method's own figures, of each run or of two that are compared."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonorant.recipes.sections.page import Section, folders, key, name, number, text, words
from sonorant.recipes.sections.plots import Line, lines, wide_and_narrow
from sonorant.train.log import read_metrics

COMPARED = ("finetuned", "scratch")  # drawn in the same axes
LOSSES = ("loss", "validation_loss")
LAST = ("learning_rate", "gradient_norm")
EXACT = {"learning_rate"}  # not measured, so not smoothed
BOOKKEEPING = {"step", "count", "seconds", "audio_seconds", "waited", "skipped"}
FEW = 40  # points up to which each is shown as it is
MOST = 500  # points that a chart has room for

Rows = list[dict[str, Any]]


def training(run: Path) -> list[Section]:
    """A section for each run that left metrics; the two that are compared share one."""
    found = {name(each, run): rows for each in folders(run) if (rows := _rows(each / "metrics.jsonl"))}
    compared = {each: found.pop(each) for each in COMPARED if each in found}
    groups = [{each: rows} for each, rows in found.items()]
    return [_section(group) for group in (*groups, compared) if group]


def _rows(file: Path) -> Rows:
    return [row for row in read_metrics(file) if "step" in row] if file.exists() else []


def _section(runs: Mapping[str, Rows]) -> Section:
    several = len(runs) > 1
    entries: list[tuple[str, int | None, bool]] = []
    if several:
        entries += [(each, place, False) for place, each in enumerate(runs)]
    metrics = _metrics(list(runs.values()))
    if "validation_loss" in metrics:
        entries += [] if several else [("training", 0, False)]
        entries.append(("validation", None if several else 0, True))
    charts = [_panel(runs, metric) for metric in metrics if metric not in LOSSES]
    body = (
        f'<p class="note">{"<br>".join(_facts(each, rows) for each, rows in runs.items())}</p>'
        f"{_diagnoses(runs)}{key(entries) if entries else ''}{_losses(runs)}"
        f'<div class="panels">{"".join(charts)}</div>'
    )
    return Section(f"Training: {' and '.join(runs)}", body)


def _diagnoses(runs: Mapping[str, Rows]) -> str:
    """What training said of collapses, if it did."""
    told = [
        f"<li>{text(each)}, step {int(row['step']):,}: {text(row['diagnosis'])}</li>"
        for each, rows in runs.items()
        for row in rows
        if "diagnosis" in row
    ]
    return f"<p><b>Health</b></p><ul>{''.join(told)}</ul>" if told else ""


def _metrics(runs: Sequence[Rows]) -> list[str]:
    """What is drawn, in the order in which it turns up; what every method has comes last."""
    names = dict.fromkeys(metric for rows in runs for row in rows for metric in row)
    own = [metric for metric in names if metric not in BOOKKEEPING and metric not in LAST]
    ordered = [*own, *(metric for metric in LAST if metric in names)]
    return [metric for metric in ordered if any(_points(rows, metric)[0] for rows in runs)]


def _points(rows: Rows, metric: str) -> tuple[list[float], list[float]]:
    """Steps and values, without those that were not finite."""
    points = [
        (float(row["step"]), float(row[metric]))
        for row in rows
        if isinstance(row.get(metric), int | float) and math.isfinite(row[metric])
    ]
    return [x for x, _ in points], [y for _, y in points]


def _losses(runs: Mapping[str, Rows]) -> str:
    drawn: list[Line] = []
    for place, rows in enumerate(runs.values()):
        drawn += _drawn(rows, "loss", place)
        steps, values = _points(rows, "validation_loss")
        drawn += [Line(steps, values, place, dashed=True, dots=True)] if steps else []
    if not drawn:
        return ""
    chart = wide_and_narrow(
        lambda size: lines(
            drawn, label=f"Loss of {' and '.join(runs)}", across="step", reach=_reach(runs), size=size
        ),
        height=280,
    )
    return f"<figure><figcaption>loss</figcaption>{chart}</figure>"


def _panel(runs: Mapping[str, Rows], metric: str) -> str:
    drawn = [line for place, rows in enumerate(runs.values()) for line in _drawn(rows, metric, place)]
    chart = lines(drawn, label=f"{words(metric)} of {' and '.join(runs)}", across="step", reach=_reach(runs))
    return f"<figure><figcaption>{text(words(metric))}</figcaption>{chart}</figure>"


def _reach(runs: Mapping[str, Rows]) -> tuple[float, float]:
    """The same steps in all charts of a section, with room for a dot at the end."""
    last = max(float(row["step"]) for rows in runs.values() for row in rows)
    return -0.01 * last, 1.015 * max(last, 1)


def _drawn(rows: Rows, metric: str, series: int) -> list[Line]:
    """A few points as they are; many as a faint line below a smooth one."""
    steps, values = _points(rows, metric)
    if len(steps) <= FEW:
        return [Line(steps, values, series, dots=True)] if steps else []
    kept = np.linspace(0, len(steps) - 1, min(MOST, len(steps))).round().astype(int)
    if metric in EXACT:
        return [Line([steps[place] for place in kept], [values[place] for place in kept], series)]
    smoothed = smooth(values)
    return [
        Line(*_extremes(steps, values), series, faint=True),
        Line([steps[place] for place in kept], [smoothed[place] for place in kept], series),
    ]


def smooth(values: list[float]) -> list[float]:
    """Gaussian means, without lag, over about a twentieth of the values, fewer at the ends."""
    deviation = len(values) / 60
    reach = min(math.ceil(3 * deviation), (len(values) - 1) // 2)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    sums = np.convolve(values, kernel, mode="same")
    return list((sums / np.convolve(np.ones(len(values)), kernel, mode="same")).tolist())


def _extremes(steps: list[float], values: list[float]) -> tuple[list[float], list[float]]:
    """The lowest and the highest value of each stretch, in order: thinning hides no spike."""
    if len(steps) <= MOST:
        return steps, values
    kept: list[int] = []
    for stretch in np.array_split(np.arange(len(steps)), MOST // 2):
        inside = [values[place] for place in stretch]
        kept += sorted({int(stretch[np.argmin(inside)]), int(stretch[np.argmax(inside)])})
    return [steps[place] for place in kept], [values[place] for place in kept]


def _facts(run: str, rows: Rows) -> str:
    """Steps, time and audio (both from the logged steps), and the smoothed loss at the end."""
    last = max(int(row["step"]) for row in rows)
    facts = [f"{last:,} steps"]
    for metric, unit, what in (
        ("audio_seconds", 3600, "h of audio seen"),
        ("seconds", 60, "min of training"),
    ):
        values = _points(rows, metric)[1]
        if values:
            facts.append(f"about {number(round(last * float(np.mean(values)) / unit, 1))} {what}")
    losses = _points(rows, "loss")[1]
    if losses:
        facts.append(f"loss {number(smooth(losses)[-1])} at the end")
    skipped = sum(bool(row.get("skipped")) for row in rows)
    if skipped:
        facts.append(f"{skipped} steps skipped")
    return f"<b>{text(run)}</b> {', '.join(facts)}"
