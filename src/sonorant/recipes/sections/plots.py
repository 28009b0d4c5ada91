"""Drawings as SVG that takes its colours and its font from the page around it.

Text from data stays out of the drawings: keys and captions are HTML, so no font here has to know its letters.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from sonorant.recipes.sections.page import SERIES, text

INK, RULE = "#010101", "#020202"  # stand for colours of the style sheet, which follows light and dark
SIZE = 11  # of the letters, in units of the drawing
PANEL = (320, 190)
ROUND = [1, 2, 2.5, 5, 10]  # multiples that people read easily


class PlotError(ValueError):
    """Drawing is impossible; one line."""


@dataclass(frozen=True)
class Line:
    """Points that belong together. `faint`: raw values behind a smoothed line; they may leave the axes."""

    x: Sequence[float]
    y: Sequence[float]
    series: int = 0
    faint: bool = False
    dashed: bool = False
    dots: bool = False
    intervals: Sequence[tuple[float, float]] = field(default=())  # one for each point, or none


def lines(
    drawn: Sequence[Line],
    *,
    label: str,
    across: str,
    reach: tuple[float, float] | None = None,
    size: tuple[int, int] = PANEL,
) -> str:
    """A chart of lines; `label` says what it shows to those who cannot see it, `across` names the x axis.

    `reach` is the part of the x axis that is shown, else that of the lines with some room.
    """
    figure = blank(size)
    axes = figure.add_subplot()
    for line in drawn:
        color = _series(line.series)
        axes.plot(
            line.x,
            line.y,
            color=color,
            linewidth=1.0 if line.faint else 1.8,
            alpha=0.28 if line.faint else 1.0,
            linestyle=(0, (4, 3)) if line.dashed else "-",
            marker="o" if line.dots else None,
            markersize=4.5,
        )
        for x, (low, high) in zip(line.x if line.intervals else (), line.intervals, strict=True):
            axes.plot([x, x], [low, high], color=color, linewidth=1.2, alpha=0.55)
    axes.set_ylim(*_limits(drawn))
    if reach is not None:
        axes.set_xlim(*reach)
    _plain(axes, across)
    return _svg(figure, label)


def wide_and_narrow(draw: Callable[[tuple[int, int]], str], *, height: int) -> str:
    """A drawing for a desk and one for a phone, of which the style sheet shows one."""
    wide, narrow = draw((940, height)), draw((400, height))
    return f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'


def picture(
    spectrogram: Float[ndarray, "time mels"],
    features: Float[ndarray, "steps dim"],
    *,
    seconds: float,
    label: str,
    size: tuple[int, int],
) -> str:
    """A spectrogram above features of any other frame rate, both over the same seconds."""
    figure = blank(size)
    upper, lower = figure.subplots(2, 1, sharex=True)
    bottom, top = np.percentile(spectrogram, [5, 99.8])
    reach = max(float(np.percentile(np.abs(features), 98)), 1e-9)
    shared = {"aspect": "auto", "origin": "lower", "interpolation": "none"}
    upper.imshow(spectrogram.T, cmap="magma", vmin=bottom, vmax=max(top, bottom + 1e-9),
                 extent=(0, seconds, 0, spectrogram.shape[1]), **shared)  # fmt: skip
    lower.imshow(features.T, cmap="RdBu_r", vmin=-reach, vmax=reach,
                 extent=(0, seconds, 0, features.shape[1]), **shared)  # fmt: skip
    for axes, title in ((upper, "log-mel spectrogram"), (lower, "features")):
        axes.set_title(title, loc="left", fontsize=SIZE, color=INK)
        axes.set_yticks([])
    _plain(lower, "seconds")
    lower.set_yticks([])
    upper.spines[:].set_visible(False)
    upper.tick_params(length=0, labelbottom=False)
    return _svg(figure, label)


def blank(size: tuple[int, int]) -> Any:
    """An empty figure of so many units, 72 an inch. PlotError: matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise PlotError("pictures need matplotlib: pip install 'sonorant[plot]'") from error
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, hspace=0.03)  # inches
    return Figure(figsize=(size[0] / 72, size[1] / 72), dpi=72, layout=layout)


def _series(place: int) -> str:
    return f"#0a0a0{place % SERIES}"


def _limits(drawn: Sequence[Line]) -> tuple[float, float]:
    """The range of what counts: everything but the outliers of faint lines."""
    edges: list[float] = []
    for line in drawn:
        edges += np.percentile(line.y, [1, 99]).tolist() if line.faint else line.y
        edges += [edge for interval in line.intervals for edge in interval]
    low, high = min(edges), max(edges)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - room, high + room


def _plain(axes: Any, across: str) -> None:
    """Few ticks, quiet rules, no box."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=SIZE, labelcolor=INK, pad=5)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND, integer=across != "seconds"))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    axes.set_xlabel(across, loc="right", fontsize=SIZE, color=INK)


def _tick(value: float) -> str:
    value = 0.0 if abs(value) < 1e-12 else value  # a locator's zero may be a rounding error
    shown = f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"
    return shown.replace("-", "\N{MINUS SIGN}")


def _svg(figure: Any, label: str) -> str:
    """The figure as an element to put into a page: no fixed size, no ids that could meet another's."""
    from matplotlib import rc_context

    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": f"{label} {figure.get_size_inches()}"}):
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    drawing = file.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg role="img" aria-label="@" \1>', drawing, count=1
    )
    drawing = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)
    drawing = drawing.replace('aria-label="@"', f'aria-label="{text(label)}"', 1)
    drawing = drawing.replace(INK, "var(--quiet)").replace(RULE, "var(--rule)")
    return re.sub(r"#0a0a0(\d)", r"var(--s\1)", drawing)
