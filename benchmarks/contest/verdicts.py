"""Whether rows bear out what an experiment expects."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from contest.experiments import Claim, Experiment
from sonorant.evaluate.rows import Row

T = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""The 97.5 % points of Student's t with 1 to 9 degrees of freedom."""
HOLDS, FAILS, UNSURE = "holds", "does not hold", "within the interval"


class Verdict(NamedTuple):
    """How much more of the figure the variants have that should have more, with its 95 % interval."""

    more: str  # the variants that are compared
    less: str
    difference: float
    low: float
    high: float
    seeds: int

    @property
    def word(self) -> str:
        if self.low > 0:
            return HOLDS
        return FAILS if self.high < 0 else UNSURE


def verdict(rows: Sequence[Row], experiment: Experiment, claim: Claim) -> Verdict | None:
    """Of the seeds that all variants have. None: there is none.

    Seeds are compared one by one. The interval is the wider one of two: that of measuring, for which variants
    count as independent although they are measured on the same speech, and that over seeds, if there are two.
    """
    found = {
        name: _by_seed(rows, experiment.subject(name), claim.metric) for name in (*claim.more, *claim.less)
    }
    seeds = sorted(set.intersection(*(set(each) for each in found.values())))
    if not seeds:
        return None

    def mean(name: str) -> float:
        return statistics.mean(found[name][seed].value for seed in seeds)

    more, less = max(claim.more, key=mean), max(claim.less, key=mean)
    both = [(found[more][seed], found[less][seed]) for seed in seeds]
    differences = [first.value - second.value for first, second in both]
    middle = statistics.mean(differences)
    below = statistics.mean(math.hypot(_below(first), _above(second)) for first, second in both)
    above = statistics.mean(math.hypot(_above(first), _below(second)) for first, second in both)
    luck = _luck(differences)
    return Verdict(more, less, middle, middle - max(below, luck), middle + max(above, luck), len(seeds))


def _by_seed(rows: Sequence[Row], subject: str, metric: str) -> dict[int | None, Row]:
    return {row.seed: row for row in rows if (row.subject, row.metric) == (subject, metric)}


def _below(row: Row) -> float:
    return 0.0 if row.low is None else row.value - row.low


def _above(row: Row) -> float:
    return 0.0 if row.high is None else row.high - row.value


def _luck(differences: Sequence[float]) -> float:
    """Half the width of a 95 % interval of their mean; nothing is known of it from one."""
    freedom = len(differences) - 1
    if not freedom:
        return 0.0
    return T[min(freedom, len(T)) - 1] * statistics.stdev(differences) / math.sqrt(len(differences))
