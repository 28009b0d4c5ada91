"""Rows that are kept: those of a day, to which every stage adds, all of one budget."""

from collections.abc import Callable, Sequence
from pathlib import Path

from comparisons import rewrite
from contest.entries import Budget
from contest.figures import BUDGET
from sonorant.evaluate.rows import Row, read_rows

Show = Callable[[Sequence[Row], Path], None]  # what makes a page and a picture of rows, beside their file


class BudgetError(ValueError):
    """Rows of another budget than those that are there."""


def keep(file: Path, new: Sequence[Row], budget: Budget, show: Show) -> None:
    """Adds rows to a file, in place of those of the same contestant, seed and metric, and shows them anew.
    BudgetError: the file has rows of another budget."""
    check(file, budget)
    rows = merged(read_rows(file) if file.exists() else [], [*budget_rows(budget, new[0]), *new])
    rewrite(file, rows)
    show(rows, file)


def check(file: Path, budget: Budget) -> None:
    """BudgetError: the file has rows of another budget."""
    if not file.exists():
        return
    rows = read_rows(file)
    values = {row.metric: row.value for row in rows if row.subject == BUDGET}
    for row in budget_rows(budget, rows[0]) if rows else ():
        if values.get(row.metric, row.value) != row.value:
            raise BudgetError(
                f"{file}: has {values[row.metric]:g} {row.metric}, not {row.value:g} "
                "(the same budget for all, or another --file)"
            )


def budget_rows(budget: Budget, like: Row) -> list[Row]:
    """What each contestant may spend, so that a file holds rows of one budget only."""
    values = {"pretraining minutes": budget.pretraining, "fine-tuning minutes": budget.finetuning}
    return [
        Row(benchmark=like.benchmark, subject=BUDGET, task="", metric=metric, value=value)
        for metric, value in {**values, "processes": budget.processes}.items()
    ]


def spent(rows: Sequence[Row]) -> dict[str, float]:
    """What each contestant might spend."""
    return {row.metric: row.value for row in rows if row.subject == BUDGET}


def origin(rows: Sequence[Row]) -> str:
    """The commits and machines of the figures."""
    commits, machines = (
        ", ".join(sorted({getattr(row, name) for row in rows if row.subject != BUDGET}))
        for name in ("commit", "machine")
    )
    return f"commit {commits}; {machines}"


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """The old rows without those that a new one replaces, and the new ones."""
    replaced = {_key(row) for row in new}
    return [*(row for row in old if _key(row) not in replaced), *new]


def _key(row: Row) -> tuple[str, int | None, str]:
    return row.subject, row.seed, row.metric
