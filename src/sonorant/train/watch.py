"""Watches a run's figures for signs of a collapse, and tells each one once.

It sees what `metrics.jsonl` holds and nothing else, so that a resumed run, whose watch has read those rows
again, says what an uninterrupted one says.
"""

import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sonorant.health import Sign

WINDOW = 10  # logged steps whose median counts, so that one batch raises no alarm


class CollapsedError(ValueError):
    """Training that was stopped because it learns nothing."""


class Watch:
    """Takes in the figures of every `every`-th step."""

    def __init__(self, signs: Iterable[Sign], *, every: int, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        """`rows`: those of `metrics.jsonl` up to where training goes on."""
        self._every = every
        self._traces = [_Trace(sign) for sign in signs]
        self._present: dict[str, tuple[Sign, str]] = {}
        for row in rows:
            if "loss" in row:
                self.see(row["step"], row)

    @property
    def present(self) -> list[str]:
        """What has been told and not gone away: a line each."""
        return [line for _, line in self._present.values()]

    def see(self, step: int, figures: Mapping[str, Any]) -> list[str]:
        """What is to be told now: a line for each collapse that has just shown, or gone away."""
        # a step without a target was skipped as well, but its figures are sound and may tell why
        if step % self._every or (figures.get("skipped") and figures.get("count") != 0):
            return []
        told = []
        for trace in self._traces:
            sign = trace.sign
            trace.add(step, figures.get(sign.metric))
            found = self._present.get(sign.mechanism)
            if found is None and trace.ill(step):
                line = sign.told(_shown(figures), trace.since)
                self._present[sign.mechanism] = (sign, line)
                told.append(line)
            elif found is not None and found[0] is sign and trace.well:
                del self._present[sign.mechanism]
                told.append(f"{sign.mechanism}: over, {sign.metric} is {trace.median:.3g} again")
        return told


class _Trace:
    """The last values of a sign's figure."""

    def __init__(self, sign: Sign) -> None:
        self.sign = sign
        self.since = 0  # the first bad step after all was well
        self._values: deque[float] = deque(maxlen=WINDOW)

    def add(self, step: int, value: float | None) -> None:
        """Takes in a value; a batch without one, or one that is not finite, says nothing."""
        if value is None or not math.isfinite(value):
            return
        if self.sign.shown_by(value) and self.well:
            self.since = step
        self._values.append(value)

    @property
    def well(self) -> bool:
        """Whether none of the last values is bad."""
        return not any(map(self.sign.shown_by, self._values))

    @property
    def median(self) -> float:
        return statistics.median(self._values)

    def ill(self, step: int) -> bool:
        """Whether most of the last values are bad, late enough to count."""
        enough = len(self._values) == WINDOW and step > self.sign.after
        return enough and self.sign.shown_by(self.median)


def _shown(figures: Mapping[str, Any]) -> dict[str, float]:
    """A row's figures; null stands for what is not finite."""
    return {name: math.nan if value is None else value for name, value in figures.items()}


def collapsed(run: str, lines: Sequence[str], step: int) -> CollapsedError:
    """The error that ends a run, and how to go on."""
    return CollapsedError(
        f"{run}: {' | '.join(lines)}. Stopped at step {step}, whose checkpoint is kept: "
        "train.stop_on_collapse=false goes on from there; with other settings choose another `out`"
    )
