"""What cjt.py looked into, as a picture and a table: layers and confidences, as the papers show them."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from contest.figures import shown, values
from contest.joint import AUROC, EXPERIMENT, REFERENCE
from contest.joint_analysis import PWCCA, RIGHT, RUNS, WRITERS, WRONG, sure
from sonorant.evaluate.rows import Row
from sonorant.recipes.comparing import CONTROL
from sonorant.recipes.labelling import BINS

ABOUT = f"""\
Left, and in the table: projection-weighted CCA of each layer of the encoder with the same layer of
`{REFERENCE}`, on the test part's speech; broken lines and the last row: with frames of other utterances.
Right: of the right and of the wrong characters of the labels of the unpaired speech, the share that is so
sure, in tenths. Means over seeds; in brackets and shaded from the lowest to the highest; characters of all
seeds together.
"""


def section(rows: Sequence[Row], stem: str) -> list[str]:
    """The lines of a page; none where nothing was looked into."""
    layers, found = _layers(rows), _measured(rows)
    if not (layers or found):
        return []
    lines = ["\n## Looking into it\n", ABOUT, f"![layers and confidences]({stem}.png)"]
    if layers:
        names = [variant for variant in RUNS if _curve(rows, variant, layers)]
        floors = [
            [each for name in names for each in _figures(rows, name, f"{layer}, {CONTROL}")]
            for layer in layers
        ]
        lines += [
            "\n| PWCCA | " + " | ".join(layers) + " |",
            "|---|" + "---:|" * len(layers),
            *(_line(name, [_figures(rows, name, layer) for layer in layers]) for name in names),
            _line(CONTROL, floors),
        ]
    return lines


def picture(rows: Sequence[Row], file: Path) -> None:
    """Curves over layers on the left, a histogram for each network that wrote labels on the right."""
    layers, writers = _layers(rows), _measured(rows)
    if not (layers or writers):
        return
    figure = Figure(figsize=(12, 6), layout="constrained")
    grid = figure.add_gridspec(max(1, len(writers)), bool(layers) + bool(writers))
    if layers:
        _draw_layers(figure.add_subplot(grid[:, 0]), rows, layers)
    for place, writer in enumerate(writers):
        _draw_confidences(figure.add_subplot(grid[place, -1]), rows, writer)
    figure.savefig(file, dpi=80)


def _layers(rows: Sequence[Row]) -> list[str]:
    """In the encoder's order."""
    metrics = (row.metric for row in rows if row.metric.startswith(f"{PWCCA} ") and CONTROL not in row.metric)
    return list(dict.fromkeys(metric.removeprefix(f"{PWCCA} ") for metric in metrics))


def _figures(rows: Sequence[Row], variant: str, layer: str) -> list[float]:
    return values(rows, EXPERIMENT.subject(variant), f"{PWCCA} {layer}")


def _curve(rows: Sequence[Row], variant: str, layers: Sequence[str]) -> list[list[float]]:
    """The figures of each layer, as far as there are any."""
    return [found for layer in layers if (found := _figures(rows, variant, layer))]


def _line(name: str, figures: Sequence[Sequence[float]]) -> str:
    return "| " + " | ".join([name, *(shown(each, "{:.3f}") for each in figures)]) + " |"


def _counts(rows: Sequence[Row], writer: str, kind: str) -> list[float]:
    """Characters in each bin, of all seeds."""
    return [sum(values(rows, EXPERIMENT.subject(writer), sure(kind, place))) for place in range(BINS)]


def _measured(rows: Sequence[Row]) -> list[str]:
    return [each for each in WRITERS if sum(_counts(rows, each, RIGHT)) + sum(_counts(rows, each, WRONG))]


def _draw_layers(axes: Axes, rows: Sequence[Row], layers: Sequence[str]) -> None:
    for number, variant in enumerate(RUNS):
        color = f"C{number}"
        floors = _curve(rows, variant, [f"{layer}, {CONTROL}" for layer in layers])
        for curve, style, name in (
            (_curve(rows, variant, layers), "o-", variant),
            (floors, "--", None),
        ):
            if curve:
                places = range(len(curve))
                axes.plot(places, [statistics.mean(each) for each in curve], style, color=color, label=name)
                low, high = [min(each) for each in curve], [max(each) for each in curve]
                axes.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_xticks(range(len(layers)), layers, rotation=20, ha="right")
    axes.set_ylabel(f"PWCCA with {REFERENCE}")
    axes.grid(alpha=0.3)
    axes.legend()


def _draw_confidences(axes: Axes, rows: Sequence[Row], writer: str) -> None:
    edges = [place / BINS for place in range(BINS + 1)]
    for kind, color, filled in ((RIGHT, "C0", True), (WRONG, "C3", False)):
        counts = _counts(rows, writer, kind)
        shares = [count / max(1, sum(counts)) for count in counts]
        axes.stairs(
            shares, edges, fill=filled, color=color, alpha=0.5 if filled else 1, linewidth=2, label=kind
        )
    worth = shown(values(rows, EXPERIMENT.subject(writer), AUROC), "{:.3f}")
    axes.legend(title=f"{writer}: AUROC {worth or 'unknown'}")
    axes.set_xlabel("confidence")
    axes.set_ylabel("share of characters")
    axes.grid(alpha=0.3)
