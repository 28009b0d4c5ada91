"""The figures of a contest's rows: their names, and those of one subject or of several."""

import statistics
from collections.abc import Sequence

from sonorant.evaluate.rows import Row

BUDGET = "budget"  # the subject of rows that tell what each contestant may spend
NATS, PHONES, SPEAKERS, CER = "label-free nats", "phone accuracy", "speaker accuracy", "CER test"
RANKME, EFFECTIVE = "RankMe", "effective rank"
PNMI, PURITY = "PNMI, corrected", "phone purity"
LOSS = "last loss"


def subjects(rows: Sequence[Row]) -> list[str]:
    """Whom the rows tell of, in the order in which they come."""
    return list(dict.fromkeys(row.subject for row in rows if row.subject != BUDGET))


def trained(rows: Sequence[Row]) -> list[str]:
    """The subjects that were trained without labels."""
    return [name for name in subjects(rows) if values(rows, name, "updates")]


def values(rows: Sequence[Row], subject: str, metric: str) -> list[float]:
    """A subject's figures, one for each seed that there is."""
    return [row.value for row in rows if (row.subject, row.metric) == (subject, metric)]


def pairs(rows: Sequence[Row], names: Sequence[str], x: str, y: str) -> dict[str, tuple[float, float]]:
    """Two metrics of those that have both, means over seeds."""
    found = {name: (values(rows, name, x), values(rows, name, y)) for name in names}
    return {
        name: (statistics.mean(first), statistics.mean(second))
        for name, (first, second) in found.items()
        if first and second
    }
