"""Which figure that needs no recogniser puts the methods into the order that probes and recognisers do."""

import statistics
from collections.abc import Callable, Iterator, Sequence

from contest.correlation import Correlation, correlation
from contest.figures import (
    CER,
    EFFECTIVE,
    LOSS,
    NATS,
    OWN,
    PHONES,
    PNMI,
    PURITY,
    RANKME,
    SPEAKERS,
    of_layer,
    pairs,
    subjects,
    trained,
)
from sonorant.evaluate.rows import Row

CANDIDATES = {
    NATS: ("label-free score", 1),
    OWN: ("label-free score of a layer's own clusters", 1),
    RANKME: ("RankMe", 1),
    EFFECTIVE: ("effective rank", 1),
    LOSS: ("pretraining loss at the end", -1),
    PNMI: ("PNMI of clusters with phones", 1),
    PURITY: ("phone purity of clusters", 1),
}  # the heading of each, and whether more of it should be better
JUDGES = {PHONES: ("phones", 1), CER: ("CER test", -1), SPEAKERS: ("speakers", 1)}
ABOUT = """\
Spearman's rank correlation, with its 95 % interval over drawings of contestants: 1 where the better by the
figure at the left is always the better by the one above, so losses and error rates count as better when they
are lower. `trained` are the methods, `all` also the controls and published models; `layers` are all layers of
all, each with its own figures. Speakers show what else a figure rises with. `lost` is what the phone probe
loses, on the mean over contestants with several layers, if the figure chooses the layer. The label-free
scores, the ranks and the loss need no label. But for the layers, ranks and clusters (of which there are 100)
are those of the layer that the label-free score puts first. Losses of different methods do not measure the
same thing.
"""
Who = Callable[[Sequence[Row]], list[str]]
COLUMNS: Sequence[tuple[str, Who, str]] = (
    ("trained", trained, PHONES),
    ("trained", trained, CER),
    ("all", subjects, PHONES),
    ("all", subjects, CER),
)  # of the table, before those of layers


def ranking(rows: Sequence[Row]) -> list[str]:
    """The lines of a table: a row for each figure, a column for each of what it should foretell."""
    layers = (PHONES, SPEAKERS)
    head = [f"{JUDGES[judge][0]}, {who}" for who, _, judge in COLUMNS]
    head += [f"{JUDGES[judge][0]}, layers" for judge in layers]
    lines = ["| | " + " | ".join(head) + " | lost |", "|---|" + "---:|" * (len(head) + 1)]
    for metric, (heading, _) in CANDIDATES.items():
        cells = [_cell(*agreement(rows, metric, judge, who(rows))) for _, who, judge in COLUMNS]
        cells += [_cell(*layer_agreement(rows, metric, judge)) for judge in layers]
        cells.append(_lost(lost(rows, metric)))
        lines.append(f"| {heading} | " + " | ".join(cells) + " |")
    return lines


def _cell(found: Correlation | None, pairs: int) -> str:
    if found is None:
        return f"(of {pairs})"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}] (of {found.n})"


def _lost(losses: Sequence[float]) -> str:
    return f"{statistics.mean(losses):.1%} (of {len(losses)})" if losses else "(of 0)"


def agreement(
    rows: Sequence[Row], metric: str, judge: str, names: Sequence[str]
) -> tuple[Correlation | None, int]:
    """How far a figure and what judges it agree on which contestants are better; over how many."""
    sign = CANDIDATES[metric][1] * JUDGES[judge][1]
    both = pairs(rows, names, metric, judge).values()
    found = correlation([sign * x for x, _ in both], [y for _, y in both]) if both else None
    return found, len(both)


def layer_agreement(rows: Sequence[Row], metric: str, judge: str) -> tuple[Correlation | None, int]:
    """The same over all layers of all, the interval over contestants."""
    found = [
        (owner, own[metric], own[judge]) for owner, own in _layers(rows) if metric in own and judge in own
    ]
    if not found:
        return None, 0
    sign = CANDIDATES[metric][1] * JUDGES[judge][1]
    owners, x, y = zip(*found, strict=True)
    return correlation([sign * each for each in x], y, groups=owners), len(found)


def lost(rows: Sequence[Row], metric: str) -> list[float]:
    """What the phone probe of each contestant loses with the layer that is best by a figure."""
    layers: dict[object, list[tuple[float, float]]] = {}
    for owner, own in _layers(rows):
        if metric in own and PHONES in own:
            layers.setdefault(owner, []).append((CANDIDATES[metric][1] * own[metric], own[PHONES]))
    several = [each for each in layers.values() if len(each) > 1]
    return [max(phones for _, phones in each) - max(each)[1] for each in several]


def _layers(rows: Sequence[Row]) -> Iterator[tuple[tuple[str, int | None], dict[str, float]]]:
    """The figures of each layer, with the contestant and the seed whose it is."""
    names = {of_layer(metric): metric for metric in (*CANDIDATES, *JUDGES)}
    found: dict[tuple[str, int | None, str], dict[str, float]] = {}
    for row in rows:
        if row.metric in names:
            found.setdefault((row.subject, row.seed, row.task), {})[names[row.metric]] = row.value
    for (subject, seed, _), own in found.items():
        yield (subject, seed), own
