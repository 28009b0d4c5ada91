"""SUPERB's one number for an upstream: how far it goes from the baseline to the best, the mean over tasks.

    1000 / |T| * sum over tasks t of (s_t(u) - s_t(baseline)) / (s_t(best) - s_t(baseline))

That is the score of SUPERB's public leaderboard, https://superbbenchmark.org, where the best is the best
known result and a task's metrics are averaged. Here the best is the best of the table, so that scores of
different tables do not compare, and each task counts with its first metric.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Scores(NamedTuple):
    """The score of each upstream that was measured in all tasks, and the tasks that give no scale."""

    scores: dict[str, float]
    without: tuple[str, ...]  # where nothing is better than the baseline, or the baseline is missing


def superb_scores(
    values: Mapping[str, Mapping[str, float]], higher: Mapping[str, bool], *, baseline: str
) -> Scores:
    """Of the upstreams' values in each task; `higher` tells whether more is better."""
    upstreams = dict.fromkeys(name for each in values.values() for name in each)
    scales: dict[str, tuple[float, float]] = {}
    for task, found in values.items():
        if not found or baseline not in found:
            continue
        best = max(found.values()) if higher[task] else min(found.values())
        if best != found[baseline]:
            scales[task] = found[baseline], best - found[baseline]
    complete = [name for name in upstreams if scales and all(name in values[task] for task in scales)]
    scores = {
        name: 1000 * sum((values[task][name] - start) / width for task, (start, width) in scales.items())
        / len(scales)
        for name in complete
    }  # fmt: skip
    return Scores(scores, tuple(task for task in values if task not in scales))
