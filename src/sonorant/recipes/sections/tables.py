"""The results: a table for each task, subjects down and metrics across, each figure with its interval."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from sonorant.evaluate.rows import Row, read_rows
from sonorant.recipes.measuring import LABEL_FREE
from sonorant.recipes.sections.information import POINT, charts, is_curve, point
from sonorant.recipes.sections.page import Section, key, number, text, words
from sonorant.recipes.sections.plots import Line, lines, wide_and_narrow

HEADLINE, LAST = "recognition", "time"
SHARES = {"wer", "cer", "per", "eer", "der", "f1", "accuracy", "share of entropy"}  # read as percentages
LAYER = re.compile(r"(.*?)\s*\blayer[ _]?(\d+)(.*)", re.DOTALL)


def results(run: Path) -> list[Section]:
    """A section for each task, the headline first; a task that was measured on several layers has a curve.
    The label-free score over clusters and gaps is one section."""
    file = run / "results.jsonl"
    rows = read_rows(file) if file.exists() else []
    tasks: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        tasks.setdefault((row.task, row.benchmark), []).append(row)
    several = len({benchmark for _, benchmark in tasks}) > 1
    ordered = sorted(tasks, key=lambda each: (each[0] != HEADLINE) + 2 * (each[0] == LAST))
    sections: dict[str, Section] = {}
    for task, benchmark in ordered:
        over = [row for row in rows if row.benchmark == benchmark and point(row)]
        curved = is_curve(over) and POINT.fullmatch(task) is not None
        title = f"{LABEL_FREE} over clusters and gaps" if curved else task
        title = f"{title}, {benchmark}" if several else title
        if title not in sections:
            sections[title] = (
                _curve_section(title, over) if curved else _section(title, tasks[task, benchmark])
            )
    return list(sections.values())


def _curve_section(title: str, rows: Sequence[Row]) -> Section:
    tables = "".join(
        f"<h3>{text(task)}</h3>{_table([row for row in rows if row.task == task])}"
        for task in dict.fromkeys(row.task for row in rows)
    )
    body = f"{charts(rows)}<details><summary>All figures</summary>{tables}</details>"
    return Section(title[:1].upper() + title[1:], body)


def provenance(run: Path) -> list[Section]:
    """What measured the figures, at which commits, with which seeds and on which machines."""
    file = run / "results.jsonl"
    rows = read_rows(file) if file.exists() else []
    told: list[tuple[str, Iterable[object]]] = [
        ("Measured by", dict.fromkeys(row.benchmark for row in rows)),
        ("Commit", dict.fromkeys(row.commit for row in rows if row.commit)),
        ("Seed", dict.fromkeys(row.seed for row in rows if row.seed is not None)),
        ("Machine", dict.fromkeys(row.machine for row in rows if row.machine)),
    ]
    lines = "".join(
        f"<dt>{what}</dt><dd>{'<br>'.join(text(each) for each in values)}</dd>"
        for what, values in told
        if values
    )
    return [Section("Where the figures come from", f'<dl class="facts">{lines}</dl>')] if rows else []


def _section(task: str, rows: Sequence[Row]) -> Section:
    table, chart = _table(rows), _layers(task, rows)
    if chart:
        table = f"{chart}<details><summary>All figures</summary>{table}</details>"
    return Section(task[:1].upper() + task[1:], table)


def _table(rows: Sequence[Row]) -> str:
    subjects = dict.fromkeys(row.subject for row in rows)
    columns = {
        metric: [row for row in rows if row.metric == metric]
        for metric in dict.fromkeys(row.metric for row in rows)
    }
    head = "".join(f'<th scope="col">{_heading(metric, column)}</th>' for metric, column in columns.items())
    body = "".join(
        f'<tr><th scope="row" dir="auto">{text(subject)}</th>'
        + "".join(
            f"<td>{''.join(_cell(row, column) for row in column if row.subject == subject)}</td>"
            for column in columns.values()
        )
        + "</tr>"
        for subject in subjects
    )
    head = f"<thead><tr><td></td>{head}</tr></thead>"
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def _heading(metric: str, column: Sequence[Row]) -> str:
    counts = {row.n for row in column}
    count = f"<small>n = {next(iter(counts))}</small>" if len(counts) == 1 and counts != {None} else ""
    return f"{text(words(metric))}{', %' if is_share(metric) else ''}{count}"


def _cell(row: Row, column: Sequence[Row]) -> str:
    """The figure, its interval on the column's scale, and what tells it from its neighbours."""
    details = []
    if row.low is not None and row.high is not None:
        details.append(f"{figure(row.low, row.metric)} to {figure(row.high, row.metric)}")
    if len({each.n for each in column}) > 1 and row.n is not None:
        details.append(f"n = {row.n}")
    if sum(each.subject == row.subject for each in column) > 1 and row.seed is not None:
        details.append(f"seed {row.seed}")
    small = f"<small>{', '.join(details)}</small>" if details else ""
    return f"<div><span>{figure(row.value, row.metric)}</span>{_whisker(row, column)}{small}</div>"


def _whisker(row: Row, column: Sequence[Row]) -> str:
    if row.low is None or row.high is None:
        return ""
    edges = [edge for each in column for edge in (each.low, each.high, each.value) if edge is not None]
    low, width = min(edges), max(edges) - min(edges)
    if not width:
        return ""
    left, middle, right = (3 + 94 * (edge - low) / width for edge in (row.low, row.value, row.high))
    return (
        '<svg class="whisker" viewBox="0 0 100 8" aria-hidden="true"><path d="M0 4H100"/>'
        f'<path class="interval" d="M{left:.1f} 4H{right:.1f}"/>'
        f'<circle cx="{middle:.1f}" cy="4" r="3"/></svg>'
    )


def is_share(metric: str) -> bool:
    """Whether people read the metric as a percentage."""
    return words(metric).lower() in SHARES


def figure(value: float, metric: str) -> str:
    """A value of the metric for people."""
    return f"{100 * value:.1f}".replace("-", "\N{MINUS SIGN}") if is_share(metric) else number(value)


def _layers(task: str, rows: Sequence[Row]) -> str:
    """The task's first metric over the layers of each model; what has no layers is a dashed line across."""
    metric = rows[0].metric
    families: dict[str, dict[int, list[Row]]] = {}
    flat: dict[str, list[Row]] = {}
    for row in (row for row in rows if row.metric == metric):
        match = LAYER.fullmatch(row.subject)
        if match:
            families.setdefault(match[1] + match[3] or "layers", {}).setdefault(int(match[2]), []).append(row)
        else:
            flat.setdefault(row.subject, []).append(row)
    families = dict(sorted(families.items(), key=lambda each: -len(each[1])))
    numbers = sorted({float(layer) for layers in families.values() for layer in layers})
    if len(numbers) < 2:
        return ""
    scale = 100.0 if is_share(metric) else 1.0
    drawn = [_curve(layers, scale, place) for place, layers in enumerate(families.values())]
    for place, across in enumerate(flat.values(), start=len(families)):
        level = scale * _mean(across)
        drawn.append(Line([numbers[0], numbers[-1]], [level, level], place, dashed=True))
    label = f"{metric} by layer, {task}"
    chart = wide_and_narrow(lambda size: lines(drawn, label=label, across="layer", size=size), height=260)
    entries = [(each, place, place >= len(families)) for place, each in enumerate([*families, *flat])]
    caption = f"{text(words(metric))}{', %' if scale > 1 else ''}, by layer"
    return f"{key(entries)}<figure><figcaption>{caption}</figcaption>{chart}</figure>"


def _curve(layers: dict[int, list[Row]], scale: float, series: int) -> Line:
    """Means over seeds; intervals are drawn where a layer was measured once."""
    numbers = sorted(layers)
    single = [layers[layer][0] for layer in numbers if len(layers[layer]) == 1]
    intervals = [
        (scale * row.low, scale * row.high) for row in single if row.low is not None and row.high is not None
    ]
    return Line(
        [float(layer) for layer in numbers],
        [scale * _mean(layers[layer]) for layer in numbers],
        series,
        dots=True,
        intervals=intervals if len(intervals) == len(numbers) else (),
    )


def _mean(rows: Sequence[Row]) -> float:
    return sum(row.value for row in rows) / len(rows)
