"""Comparisons of two models as pictures: a heat map of layers against layers, and curves over layers."""

from pathlib import Path
from typing import Any

import msgspec

from sonorant.evaluate.similarity import Comparison
from sonorant.recipes.sections.page import ReportError, Section, folders, key, text, words
from sonorant.recipes.sections.plots import Line, blank, lines, wide_and_narrow

PANEL = 3.4  # inches


def check() -> None:
    """PlotError: there is nothing to draw with."""
    blank((1, 1))


def draw(comparison: Comparison, folder: Path) -> None:
    """Writes `heat_map.png` and `curves.png`."""
    _heat_maps(comparison).savefig(folder / "heat_map.png", dpi=120)
    _curves(comparison).savefig(folder / "curves.png", dpi=120)


def comparisons(run: Path) -> list[Section]:
    """A section for each `comparison.json` of a run and its subfolders. ReportError: one cannot be read."""
    found = []
    for folder in folders(run):
        file = folder / "comparison.json"
        if file.exists():
            try:
                found.append(_section(msgspec.json.decode(file.read_bytes(), type=Comparison)))
            except msgspec.DecodeError as error:
                raise ReportError(f"{file}: {error} (remove it, or compare again)") from error
    return found


def _section(comparison: Comparison) -> Section:
    measures = list(comparison.values)
    numbers = [float(number) for number in range(len(comparison.first_layers))]
    drawn = []
    for place, best in enumerate(comparison.best.values()):
        intervals = [(each.low, each.high) for each in best if each.low is not None and each.high is not None]
        drawn += [
            Line(numbers, [each.value for each in best], place, dots=True, intervals=intervals),
            Line(numbers, [each.floor for each in best], place, dashed=True),
        ]
    title = f"{comparison.first} against {comparison.second}"
    label = f"Similarity of each layer of {comparison.first} to the layer most like it of {comparison.second}"
    chart = wide_and_narrow(lambda size: lines(drawn, label=label, across="layer", size=size), height=260)
    entries = [(words(measure), place, False) for place, measure in enumerate(measures)]
    curves = (
        f"{key([*entries, ('other utterances', None, True)])}<figure><figcaption>{text(label)}</figcaption>"
        f"{chart}</figure>"
    )
    tables = "".join(
        f"<figure><figcaption>{text(words(measure))}</figcaption>{_table(comparison, measure)}</figure>"
        for measure in measures
    )
    note = (
        f'<p class="note">{comparison.frames} frames of {comparison.utterances} utterances. '
        f"Rows: {text(comparison.first)}; columns: {text(comparison.second)}. Small: other utterances.</p>"
    )
    warnings = "".join(f'<p class="note"><b>{text(each)}</b></p>' for each in comparison.warnings)
    return Section(title, f"{warnings}{curves}<details><summary>All layers</summary>{note}{tables}</details>")


def _table(comparison: Comparison, measure: str) -> str:
    """The matrix as a table whose cells are as dark as their values are high."""
    head = "".join(f'<th scope="col">{text(layer)}</th>' for layer in comparison.second_layers)
    cells = zip(comparison.first_layers, comparison.values[measure], comparison.floors[measure], strict=True)
    body = "".join(
        f'<tr><th scope="row">{text(layer)}</th>'
        f"{''.join(_cell(*each) for each in zip(values, floors, strict=True))}</tr>"
        for layer, values, floors in cells
    )
    head = f"<thead><tr><td></td>{head}</tr></thead>"
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def _cell(value: float, floor: float) -> str:
    share = 60 * min(max(value, 0.0), 1.0)
    color = f"background:color-mix(in srgb,var(--s0) {share:.0f}%,transparent)"
    return f'<td style="{color};padding:0.5rem">{value:.2f}<small>{floor:.2f}</small></td>'


def _heat_maps(comparison: Comparison) -> Any:
    """A panel for each measure, its scale from 0 to 1, the figures in the cells where they fit."""
    count = len(comparison.values)
    columns = min(3, count)
    rows = -(-count // columns)
    figure = blank((round(72 * PANEL * columns), round(72 * PANEL * rows)))
    small = max(len(comparison.first_layers), len(comparison.second_layers)) <= 8
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (measure, values) in zip(panels, comparison.values.items(), strict=False):
        image = axes.imshow(values, vmin=0, vmax=1, cmap="viridis", origin="lower", aspect="auto")
        axes.set_title(words(measure), loc="left", fontsize=11)
        axes.set_xticks(
            range(len(comparison.second_layers)), comparison.second_layers, rotation=90, fontsize=8
        )
        axes.set_yticks(range(len(comparison.first_layers)), comparison.first_layers, fontsize=8)
        axes.set_xlabel(comparison.second, fontsize=9, parse_math=False)
        axes.set_ylabel(comparison.first, fontsize=9, parse_math=False)
        for row, cells in enumerate(values if small else ()):
            for column, value in enumerate(cells):
                color = "black" if value > 0.6 else "white"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=color)
    for axes in panels[count:]:
        axes.set_axis_off()
    figure.colorbar(image, ax=list(panels), shrink=0.6)
    return figure


def _curves(comparison: Comparison) -> Any:
    """Each layer against the layer most like it; dashed, with frames of other utterances."""
    figure = blank((620, 360))
    axes = figure.add_subplot()
    numbers = range(len(comparison.first_layers))
    for measure, best in comparison.best.items():
        values = [each.value for each in best]
        errors = [0.0 if each.high is None else each.high - each.value for each in best]
        line = axes.errorbar(numbers, values, yerr=errors, marker="o", capsize=3, label=words(measure))
        axes.plot(numbers, [each.floor for each in best], "--", color=line.lines[0].get_color(), linewidth=1)
    axes.set_xticks(numbers, comparison.first_layers, fontsize=9)
    axes.set_xlabel(f"layers of {comparison.first}", parse_math=False)
    axes.set_ylabel(f"similarity to the best layer of {comparison.second}", parse_math=False)
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.05)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, title="dashed: other utterances", title_fontsize=8)
    return figure
