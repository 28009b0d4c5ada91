"""A benchmark as one page: upstreams down, tasks across, the weights of layers, and how rates were chosen."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from sonorant.evaluate.superb import superb_scores
from sonorant.recipes.benching.results import Fit
from sonorant.recipes.benching.upstream import BASELINE
from sonorant.recipes.sections.page import Section, key, number, page, text, words
from sonorant.recipes.sections.plots import Line, PlotError, lines
from sonorant.recipes.sections.tables import figure, is_share, provenance
from sonorant.recipes.whole import write_whole

PAGE = "leaderboard.html"

SORT = """
for (const head of document.querySelectorAll("th button")) head.onclick = () => {
  const cell = head.closest("th"), place = cell.cellIndex, body = cell.closest("table").tBodies[0];
  const up = cell.ariaSort === "descending";
  for (const each of cell.parentNode.cells) each.removeAttribute("aria-sort");
  cell.ariaSort = up ? "ascending" : "descending";
  const value = row => parseFloat(row.cells[place].dataset.value ?? "nan");
  const rows = [...body.rows].sort((a, b) => {
    const x = value(a), y = value(b);
    return isNaN(x) - isNaN(y) || (up ? x - y : y - x) || 0;
  });
  body.append(...rows);
};
"""


def write_leaderboard(folder: Path, fits: Sequence[Fit]) -> Path:
    """Writes `leaderboard.html`, which needs no other file."""
    paper = [fit for fit in fits if fit.head == _heads(fits, fit.task)[0]]
    others = [fit for fit in fits if fit.head != _heads(fits, fit.task)[0]]
    sections = [Section("Leaderboard", _notes(paper) + _table(paper))]
    if others:
        sections.append(Section("With another head", _swaps(paper, others) + _table(others)))
    sections += [
        Section("Weights of layers", _weights(paper)),
        Section("How each figure came about", _fits(fits)),
        *provenance(folder),
    ]
    content = page(folder.resolve().name, sections, over="Sonorant benchmark", script=SORT)
    return write_whole(folder / PAGE, content)


def _heads(fits: Sequence[Fit], task: str) -> list[str | None]:
    """The heads of a task in the order in which they were measured, the published one first."""
    return list(dict.fromkeys(fit.head for fit in fits if fit.task == task))


def means(fits: Sequence[Fit]) -> dict[str, dict[str, float]]:
    """The first metric of each task and upstream, its mean over seeds."""
    return {
        task: {
            upstream: _mean(
                [fit.rows[0].value for fit in fits if (fit.task, fit.upstream) == (task, upstream)]
            )
            for upstream in dict.fromkeys(fit.upstream for fit in fits if fit.task == task)
        }
        for task in dict.fromkeys(fit.task for fit in fits)
    }


FIGURES = (
    "Frozen upstreams, the published heads. Figures are means over seeds; in brackets the means of "
    "the seeds' 95 % intervals, which are over speakers or clips, then the seeds' lowest and highest figure."
)
SCORE = (
    "The score goes from 0 for log-mel to 1000 for the best upstream of this table, task by task; it "
    "does not compare with scores of other tables."
)


def _notes(fits: Sequence[Fit]) -> str:
    titles = {fit.task: fit.title for fit in fits}
    found = superb_scores(means(fits), {fit.task: fit.higher for fit in fits}, baseline=BASELINE)
    told = [FIGURES, SCORE]
    if found.without:
        names = ", ".join(titles[task] for task in found.without)
        told.append(f"Without {names}: log-mel is missing there, or nothing in this table is better.")
    return f'<p class="note">{"<br>".join(text(line) for line in told)}</p>'


def _table(fits: Sequence[Fit]) -> str:
    higher = {fit.task: fit.higher for fit in fits}
    scores = superb_scores(means(fits), higher, baseline=BASELINE).scores
    columns = list(dict.fromkeys((fit.task, row.metric) for fit in fits for row in fit.rows))
    head = "".join(
        _heading(next(fit for fit in fits if fit.task == task), metric) for task, metric in columns
    )
    rows = ""
    for upstream in dict.fromkeys(fit.upstream for fit in fits):
        score = scores.get(upstream)
        cells = (
            "<td></td>" if score is None else f'<td data-value="{score}"><span>{number(score)}</span></td>'
        )
        for task, metric in columns:
            cells += _cell([fit for fit in fits if (fit.upstream, fit.task) == (upstream, task)], metric)
        rows += f'<tr><th scope="row" dir="auto">{text(upstream)}</th>{cells}</tr>'
    start = f'<td></td><th scope="col"><button>score</button></th>{head}'
    return f'<div class="scroll"><table><thead><tr>{start}</tr></thead><tbody>{rows}</tbody></table></div>'


def _heading(fit: Fit, metric: str) -> str:
    """The task, an arrow to what is better where the metric is its first, and the metric."""
    arrow = "\N{UPWARDS ARROW}" if fit.higher else "\N{DOWNWARDS ARROW}"
    title = f"{fit.title} {arrow}" if metric == fit.rows[0].metric else fit.title
    unit = ", %" if is_share(metric) else ""
    return f'<th scope="col"><button>{text(title)}</button><small>{text(words(metric))}{unit}</small></th>'


def _cell(fits: Sequence[Fit], metric: str) -> str:
    rows = [row for fit in fits for row in fit.rows if row.metric == metric]
    if not rows:
        return "<td></td>"
    values = [row.value for row in rows]
    edges = [(row.low, row.high) for row in rows if row.low is not None and row.high is not None]
    small = ""
    if edges:
        low, high = _mean([low for low, _ in edges]), _mean([high for _, high in edges])
        small = f"[{figure(low, metric)}, {figure(high, metric)}]"
    if len(values) > 1:
        small += f" {figure(min(values), metric)}\N{EN DASH}{figure(max(values), metric)}"
    mean = _mean(values)
    return f'<td data-value="{mean}"><span>{figure(mean, metric)}</span><small>{small}</small></td>'


def _swaps(paper: Sequence[Fit], others: Sequence[Fit]) -> str:
    """In which tasks the other head orders upstreams otherwise."""
    one, other = means(paper), means(others)
    told = []
    for task in other:
        title = next(fit.title for fit in others if fit.task == task)
        head = next(fit.head for fit in others if fit.task == task)
        names = [name for name in one.get(task, {}) if name in other[task]]
        swapped = [
            f"{a} and {b}"
            for a, b in combinations(names, 2)
            if (one[task][a] - one[task][b]) * (other[task][a] - other[task][b]) < 0
        ]
        order = f"orders otherwise: {', '.join(swapped)}" if swapped else "orders the upstreams alike"
        told.append(f"{title}: the head {head} {order}.")
    return f'<p class="note">{"<br>".join(text(line) for line in told)}</p>'


def _weights(fits: Sequence[Fit]) -> str:
    """A panel a task, a line an upstream that has several layers."""
    several = [fit for fit in fits if len(fit.layers) > 1]
    upstreams = list(dict.fromkeys(fit.upstream for fit in several))
    if not several:
        return '<p class="note">No upstream here has several layers.</p>'
    panels = ""
    try:
        for task in dict.fromkeys(fit.task for fit in several):
            title = next(fit.title for fit in several if fit.task == task)
            drawn = [
                _curve([fit for fit in several if (fit.task, fit.upstream) == (task, upstream)], place)
                for place, upstream in enumerate(upstreams)
                if any((fit.task, fit.upstream) == (task, upstream) for fit in several)
            ]
            chart = lines(drawn, label=f"Weights of layers in {title}", across="layer")
            panels += f"<figure><figcaption>{text(title)}</figcaption>{chart}</figure>"
    except PlotError as error:
        return f'<p class="note">{text(error)}</p>'
    entries = [(upstream, place, False) for place, upstream in enumerate(upstreams)]
    return f'{key(entries)}<div class="panels">{panels}</div>'


def _curve(fits: Sequence[Fit], series: int) -> Line:
    weights = [_mean(each) for each in zip(*(fit.weights for fit in fits), strict=True)]
    return Line([float(place) for place in range(len(weights))], weights, series, dots=True)


def _fits(fits: Sequence[Fit]) -> str:
    """The rate of each fit, what the sweep reached, and the updates."""
    columns: Mapping[str, Callable[[Fit], str]] = {
        "upstream": lambda fit: fit.upstream,
        "task": lambda fit: fit.title,
        "head": lambda fit: fit.head or "none",
        "seed": lambda fit: str(fit.seed),
        "learning rate": lambda fit: ", ".join(f"{rate:g}" for rate in fit.rates),
        "updates": lambda fit: ", ".join(map(str, fit.updates)),
        "on validation": lambda fit: "; ".join(
            ", ".join(f"{rate}: {value:.4g}" for rate, value in sweep.items()) for sweep in fit.sweeps
        ),
        "interval over": lambda fit: f"{fit.rows[0].n} {fit.over}",
    }
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in columns)
    rows = "".join(
        f"<tr>{''.join(f'<td>{text(tell(fit))}</td>' for tell in columns.values())}</tr>" for fit in fits
    )
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return f"<details><summary>{len(fits)} fits</summary>{table}</details>"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
