"""The figures of a contest's rows: their names, and those of one subject or of several."""

import statistics
from collections.abc import Sequence

from sonorant.evaluate.rows import Row

BUDGET = "budget"  # the subject of rows that tell what each contestant may spend
NATS, PHONES, SPEAKERS, CER = "label-free nats", "phone accuracy", "speaker accuracy", "CER test"
OWN = "label-free nats, own clusters"
RANKME, EFFECTIVE = "RankMe", "effective rank"
PNMI, PURITY = "PNMI, corrected", "phone purity"
NOISY = "phone accuracy in noise"
LOSS = "last loss"
KIND = "encoder parameters"  # whose row's task tells the kind of encoder
HEALTH = "diagnoses"
COLUMNS = {
    NATS: ("label-free, nats", "{:.3f}", 1),
    PHONES: ("phones", "{:.1%}", 1),
    SPEAKERS: ("speakers", "{:.1%}", 1),
    "CER dev": ("CER dev", "{:.1%}", 1),
    CER: ("CER test", "{:.1%}", 1),
    OWN: ("of own clusters, nats", "{:.3f}", 1),
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
FORMS = {**COLUMNS, NOISY: ("phones in noise", "{:.1%}", 1)}  # of others too


def of_layer(metric: str) -> str:
    """The metric of each layer, where the metric itself is that of one of them."""
    return f"{metric}, by layer"


def subjects(rows: Sequence[Row]) -> list[str]:
    """Whom the rows tell of, in the order in which they come."""
    return list(dict.fromkeys(row.subject for row in rows if row.subject != BUDGET))


def seeds(rows: Sequence[Row]) -> list[int]:
    """Those of which there are figures."""
    return sorted({row.seed for row in rows if row.subject != BUDGET and row.seed is not None})


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


def shown(values: Sequence[float], form: str) -> str:
    """Their mean, and in brackets the lowest and the highest where these differ."""
    if not values:
        return ""
    mean, low, high = (form.format(each) for each in (statistics.mean(values), min(values), max(values)))
    return mean if low == high else f"{mean} [{low}, {high}]"
