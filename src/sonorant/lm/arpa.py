"""N-gram models as ARPA files, the format that KenLM, SRILM and most decoders read.

It has the base 10 logarithms of probabilities and back-off weights, one n-gram a line, order by order.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0  # stands for the logarithm of 0


class ArpaError(ValueError):
    """A file that is no n-gram model."""


class TextError(ValueError):
    """A text that no model can be estimated from or measured on."""


@dataclass(frozen=True)
class Grams:
    """N-grams as arrays, one of each for each order from 1 on."""

    words: tuple[str, ...]
    rows: tuple[Int[ndarray, "grams order"], ...]  # the numbers of their words
    probabilities: tuple[Float[ndarray, " grams"], ...]
    backoffs: tuple[Float[ndarray, " grams"], ...]


def write(path: Path, grams: Grams) -> None:
    """Write a model whole or not at all; a history's weight is left out where it is 1."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf8") as file:
        file.write("\\data\\\n")
        file.writelines(f"ngram {order}={len(rows)}\n" for order, rows in enumerate(grams.rows, start=1))
        for order, rows in enumerate(grams.rows, start=1):
            file.write(f"\n\\{order}-grams:\n")
            file.writelines(_lines(grams, order - 1, rows))
        file.write("\n\\end\\\n")
    partial.replace(path)


def _lines(grams: Grams, number: int, rows: Int[ndarray, "grams order"]) -> Iterator[str]:
    with np.errstate(divide="ignore"):
        probabilities = np.maximum(np.log10(grams.probabilities[number]), NEVER).tolist()
        backoffs = np.maximum(np.log10(grams.backoffs[number]), NEVER).tolist()
    names = [[grams.words[word] for word in column] for column in rows.T.tolist()]
    for probability, backoff, *words in zip(probabilities, backoffs, *names, strict=True):
        weight = f"\t{backoff:.7g}" if backoff else ""
        yield f"{probability:.7g}\t{' '.join(words)}{weight}\n"


@dataclass(frozen=True)
class Entry:
    words: tuple[str, ...]
    probability: float  # base 10 logarithm
    backoff: float  # base 10 logarithm; 0 where the file has none
    line: int


def read(path: Path, *, highest: int | None = None) -> Iterator[Entry]:
    """The n-grams of a file, the orders one after the other, up to `highest`.

    ArpaError names the line: it is not as the format has it, or the file ends too early.
    """
    try:
        with path.open(encoding="utf8") as file:
            yield from _entries(_Lines(path, file), highest)
    except OSError as error:
        raise ArpaError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ArpaError(f"{path}: not an ARPA file: not text in UTF-8") from error


class _Lines:
    """A file's lines that are not empty, and where it is at."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path, self.number = path, 0
        self._file = file

    def next(self, expected: str) -> str:
        for line in self._file:
            self.number += 1
            if text := line.strip():
                return text
        raise ArpaError(f"{self.path}: line {self.number}: the file ends where {expected} should follow")

    def wrong(self, told: str) -> ArpaError:
        return ArpaError(f"{self.path}: line {self.number}: {told}")


def _entries(lines: _Lines, highest: int | None) -> Iterator[Entry]:
    counts, text = _header(lines)
    for order in range(1, len(counts) + 1):
        if text != f"\\{order}-grams:":
            raise lines.wrong(f"expected \\{order}-grams:, got {text[:60]!r}")
        for _ in range(counts[order - 1]):
            yield _entry(lines, lines.next(f"the rest of {counts[order - 1]} {order}-grams"), order)
        if order == highest:
            return
        text = lines.next("\\end\\" if order == len(counts) else f"\\{order + 1}-grams:")
    if text != "\\end\\":
        raise lines.wrong(f"expected \\end\\, got {text[:60]!r}")


def _header(lines: _Lines) -> tuple[list[int], str]:
    """How many n-grams each order has, and the line behind."""
    if (text := lines.next("\\data\\")) != "\\data\\":
        raise lines.wrong(f"not an ARPA file: expected \\data\\, got {text[:60]!r}")
    counts: list[int] = []
    while (text := lines.next("\\1-grams:")).startswith("ngram "):
        order, _, count = text.removeprefix("ngram ").partition("=")
        if order.strip() != str(len(counts) + 1) or not count.strip().isdecimal():
            raise lines.wrong(f"expected ngram {len(counts) + 1}=COUNT, got {text[:60]!r}")
        counts.append(int(count))
    if not counts:
        raise lines.wrong(f"expected ngram 1=COUNT, got {text[:60]!r}")
    return counts, text


def _entry(lines: _Lines, text: str, order: int) -> Entry:
    fields = text.split()
    if not order + 1 <= len(fields) <= order + 2:
        raise lines.wrong(
            f"expected a probability, {order} words and perhaps a back-off weight, got {text[:60]!r}"
        )
    try:
        probability = float(fields[0])
        backoff = float(fields[order + 1]) if len(fields) > order + 1 else 0.0
    except ValueError:
        raise lines.wrong(f"expected numbers before and behind the words, got {text[:60]!r}") from None
    if not probability <= 0 or not math.isfinite(backoff):
        raise lines.wrong(f"expected the logarithm of a probability and a finite weight, got {text[:60]!r}")
    return Entry(tuple(fields[1 : order + 1]), probability, backoff, lines.number)
