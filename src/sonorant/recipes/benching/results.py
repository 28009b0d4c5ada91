"""What a benchmark leaves: how each head was fitted, rows, a table, a page; all of it written anew at once.

fits.jsonl         a `Fit` a line; whatever it holds is not done again
results.jsonl      the rows, as every command writes them (`sonorant report` shows them)
results.csv        the same for spreadsheets
leaderboard.html   recipes/sections/leaderboard.py
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from sonorant.config import ConfigError
from sonorant.evaluate.rows import Row
from sonorant.recipes.whole import write_whole

FITS, ROWS, TABLE = "fits.jsonl", "results.jsonl", "results.csv"


class Cell(NamedTuple):
    """What is measured at once: an upstream in a task, with a head and a seed."""

    upstream: str
    task: str
    head: str | None
    seed: int


class Fit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an upstream's figures in a task came about, with one head and one seed."""

    upstream: str
    task: str  # the name of its file
    title: str
    head: str | None  # None: nothing was trained; the sweep was over layers
    seed: int
    content: str  # stands for the model: another one of the same name is measured anew
    setting: str  # stands for clips, parts and budget: figures with another one do not compare
    higher: bool  # whether more of the first row's metric is better
    over: str  # what intervals are over
    rates: list[float]  # chosen, one a split
    sweeps: list[
        dict[str, float]
    ]  # validation metric by learning rate; none: another seed's rates were taken
    updates: list[int]  # until the best check, one a split
    layers: list[str]
    weights: list[float]  # of layers, the mean over splits
    rows: list[Row]

    @property
    def cell(self) -> Cell:
        return Cell(self.upstream, self.task, self.head, self.seed)


def load(folder: Path) -> list[Fit]:
    """The fits that a folder holds. ConfigError: a line is none."""
    file = folder / FITS
    try:
        return msgspec.json.Decoder(Fit).decode_lines(file.read_bytes()) if file.exists() else []
    except msgspec.DecodeError as error:
        raise ConfigError(f"{file}: {error} (remove it; features are kept)") from error


def save(folder: Path, fits: Sequence[Fit]) -> None:
    """Fits and their rows, in place of those before."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for fit in fits for row in fit.rows]
    write_whole(folder / FITS, _lines(fits))
    write_whole(folder / ROWS, _lines(rows))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(Row.__struct_fields__)
    writer.writerows(msgspec.structs.astuple(row) for row in rows)
    write_whole(folder / TABLE, table.getvalue().encode())


def _lines(values: Sequence[Fit] | Sequence[Row]) -> bytes:
    return b"".join(msgspec.json.encode(value) + b"\n" for value in values)
