"""What speed.py finds out, kept: the rows of a day, to which every run adds, and the page made of them."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from sonorant.evaluate.rows import Row, read_rows, write_rows
from sonorant.recipes.measuring import Measurer

SECONDS, RATIO, SHARE = "seconds a step", "ratio", "share of the matrix rate"
MEGABYTES, PARAMETERS = "peak megabytes", "parameters"
HEAD = (
    *("work", "size", "peer", "ratio", "ours, s", "peer, s", "ours", "peer's way", "of the matrix rate"),
    *("MB", "peer's MB", "M parameters", "peer's", "rounds", "commit"),
)


def rows(result: Mapping[str, Any], measurer: Measurer) -> list[Row]:
    """A comparison in the form that all benchmarks share. Its task has no other comparison's name."""
    task = f"{result['work']} {result['size']} {result['precision']} beside {result['peer']}"
    mine, theirs = f"ours ({result['way']})", f"{result['peer']} ({result['peer_way']})"
    n = result["rounds"]
    return [
        measurer.row(mine, task, SECONDS, result["seconds"], n=n),
        measurer.row(theirs, task, SECONDS, result["peer_seconds"], n=n),
        measurer.row(f"{result['peer']} / ours", task, RATIO, result["ratio"],
                     low=result["low"], high=result["high"], n=n),
        measurer.row(mine, task, SHARE, result["rate_share"], n=n),
        measurer.row(mine, task, MEGABYTES, result["megabytes"]),
        measurer.row(theirs, task, MEGABYTES, result["peer_megabytes"]),
        measurer.row(mine, task, PARAMETERS, result["parameters"]),
        measurer.row(theirs, task, PARAMETERS, result["peer_parameters"]),
    ]  # fmt: skip


def keep(file: Path, new: Sequence[Row], *, about: str) -> None:
    """Adds rows to a file, in place of those that it has of the same tasks, and makes its page anew.

    RowError: the file has a line that is no row; it stays as it is.
    """
    replaced = {row.task for row in new}
    old = [row for row in read_rows(file) if row.task not in replaced] if file.exists() else []
    rewrite(file, [*old, *new])
    title = f"Speed, {file.stem.removeprefix('speed-')}"
    file.with_suffix(".md").write_text(page([*old, *new], title=title, about=about), encoding="utf8")


def rewrite(file: Path, all_rows: Sequence[Row]) -> None:
    """Puts these rows in the place of a file's, or leaves it as it is."""
    beside = file.with_suffix(".new")
    beside.unlink(missing_ok=True)
    write_rows(beside, all_rows)
    beside.replace(file)


def page(all_rows: Sequence[Row], *, title: str, about: str) -> str:
    """All comparisons as one table, alike ones beside each other."""
    machines = dict.fromkeys(row.machine for row in all_rows)
    lines = [f"# {title}\n", "; ".join(machines) + ".", about + "\n"]
    lines += ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    tasks = groupby(sorted(all_rows, key=attrgetter("task")), key=attrgetter("task"))
    lines += ["| " + " | ".join(_cells(task, list(found))) + " |" for task, found in tasks]
    return "\n".join(lines) + "\n"


def _cells(task: str, found: Sequence[Row]) -> list[str]:
    told, _, peer = task.partition(" beside ")
    work, size, _ = told.split()
    ours = {row.metric: row for row in found if row.subject.startswith("ours (")}
    theirs = {row.metric: row for row in found if row.subject.startswith(f"{peer} (")}
    (ratio,) = (row for row in found if row.metric == RATIO)
    both = (ours, theirs)
    return [
        *(work, size, peer),
        f"**{ratio.value:.2f}** [{ratio.low:.2f}, {ratio.high:.2f}]",
        *(f"{each[SECONDS].value:.3g}" for each in both),
        *(each[SECONDS].subject.partition(" (")[2].removesuffix(")") for each in both),
        f"{ours[SHARE].value:.0%}",
        *(f"{each[MEGABYTES].value:.0f}" for each in both),
        *(f"{each[PARAMETERS].value / 1e6:.2f}" for each in both),
        *(str(ratio.n), ratio.commit),
    ]
