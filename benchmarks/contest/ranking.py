"""Which figure that needs no recogniser puts the methods into the order that probes and recognisers do."""

from collections.abc import Sequence

from contest.correlation import Correlation, correlation
from contest.figures import CER, EFFECTIVE, LOSS, NATS, PHONES, PNMI, PURITY, RANKME, pairs, trained
from sonorant.evaluate.rows import Row

CANDIDATES = {
    NATS: ("label-free score", 1),
    RANKME: ("RankMe", 1),
    EFFECTIVE: ("effective rank", 1),
    LOSS: ("pretraining loss at the end", -1),
    PNMI: ("PNMI of clusters with phones", 1),
    PURITY: ("phone purity of clusters", 1),
}  # the heading of each, and whether more of it should be better
JUDGES = {PHONES: ("phone accuracy", 1), CER: ("CER on the test part", -1)}
ABOUT = """\
Spearman's rank correlation over the methods that were trained, with its 95 % interval over drawings of
methods: 1 where the better by the figure at the left is always the better by the one above, so losses and
error rates count as better when they are lower. The first four need no label. Ranks and clusters (of which
there are 100) are those of the layer that the label-free score puts first. Losses of different methods do not
measure the same thing.
"""


def ranking(rows: Sequence[Row]) -> list[str]:
    """The lines of a table: a row for each figure, a column for each of what it should foretell."""
    judges = [heading for heading, _ in JUDGES.values()]
    return [
        "| | " + " | ".join(judges) + " |",
        "|---|" + "---:|" * len(judges),
        *(
            f"| {heading} | " + " | ".join(_cell(rows, metric, judge) for judge in JUDGES) + " |"
            for metric, (heading, _) in CANDIDATES.items()
        ),
    ]


def _cell(rows: Sequence[Row], metric: str, judge: str) -> str:
    found, methods = agreement(rows, metric, judge)
    if found is None:
        return f"({methods} methods)"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}] ({found.n} methods)"


def agreement(rows: Sequence[Row], metric: str, judge: str) -> tuple[Correlation | None, int]:
    """How far a figure and what judges it agree on which methods are better; over how many."""
    sign = CANDIDATES[metric][1] * JUDGES[judge][1]
    both = pairs(rows, trained(rows), metric, judge).values()
    found = correlation([sign * x for x, _ in both], [y for _, y in both]) if both else None
    return found, len(both)
