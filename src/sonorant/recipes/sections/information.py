"""The label-free score over numbers of clusters and gaps, where more than one point was measured."""

import math
import re
from collections.abc import Sequence

from sonorant.evaluate.rows import Row
from sonorant.recipes.measuring import LABEL_FREE
from sonorant.recipes.sections.page import key, text
from sonorant.recipes.sections.plots import Line, lines

POINT = re.compile(rf"{LABEL_FREE} \(K(?:=(\d+)| to infinity), gap ([\d.e-]+) s.*\)")
METRIC = "nats"


def point(row: Row) -> tuple[float, float] | None:
    """The number of clusters, infinite for a plateau, and the gap of a row; None for other tasks."""
    match = POINT.fullmatch(row.task)
    return None if match is None else (float(match[1] or math.inf), float(match[2]))


def is_curve(rows: Sequence[Row]) -> bool:
    return len({found for row in rows if (found := point(row)) and row.metric == METRIC}) > 1


def charts(rows: Sequence[Row]) -> str:
    """A panel over clusters for each gap and one over gaps for each number of clusters, a line a subject; the
    plateau of more clusters is a dashed line across."""
    points = [
        (row, *found)
        for row in rows
        if (found := point(row)) and row.metric == METRIC and not row.subject.endswith(", shuffled")
    ]
    subjects = list(dict.fromkeys(row.subject for row, _, _ in points))
    gaps = sorted({gap for _, _, gap in points})
    codes = sorted({code for _, code, _ in points if math.isfinite(code)})
    panels = []
    for gap in gaps if len(codes) > 1 else ():
        drawn = list[Line]()
        for place, subject in enumerate(subjects):
            here = [(code, row) for row, code, at in points if row.subject == subject and at == gap]
            drawn += _line([(math.log2(code), row) for code, row in here if math.isfinite(code)], place)
            for row in (row for code, row in here if math.isinf(code)):
                reach = [math.log2(codes[0]), math.log2(codes[-1])]
                drawn.append(Line(reach, [row.value, row.value], place, dashed=True))
        panels.append(_panel(drawn, f"nats, gap {gap:g} s", "clusters, as a power of two"))
    for code in codes if len(gaps) > 1 else ():
        drawn = list[Line]()
        for place, subject in enumerate(subjects):
            here = [(at, row) for row, count, at in points if row.subject == subject and count == code]
            drawn += _line(here, place)
        panels.append(_panel(drawn, f"nats over the gap, {code:g} clusters", "seconds"))
    entries = [(subject, place, False) for place, subject in enumerate(subjects)]
    return f'{key(entries)}<div class="panels">{"".join(panels)}</div>'


def _line(points: Sequence[tuple[float, Row]], place: int) -> list[Line]:
    """One line through the points in order, with their intervals where all have one."""
    if not points:
        return []
    ordered = sorted(points, key=lambda each: each[0])
    intervals = [(row.low, row.high) for _, row in ordered if row.low is not None and row.high is not None]
    return [
        Line(
            [x for x, _ in ordered],
            [row.value for _, row in ordered],
            place,
            dots=True,
            intervals=intervals if len(intervals) == len(ordered) else (),
        )
    ]


def _panel(drawn: Sequence[Line], caption: str, across: str) -> str:
    chart = lines(drawn, label=f"label-free information, {caption}", across=across)
    return f"<figure><figcaption>{text(caption)}</figcaption>{chart}</figure>"
