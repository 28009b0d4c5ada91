"""A table of recordings: manifest.tsv or manifest.csv in a folder, or any such file, with a header.

A column names the audio (file, path, file_name or audio), below the table's folder. `speaker`, `language`,
`text` and `split` are what they are called; every other column becomes a label. A cell like
`size=small;roast=dark` becomes a label for each of its parts, `COLUMN.size` and `COLUMN.roast`. `-` and `?`
say that nothing is known.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from sonorant.data.entries import CorpusError, Entry
from sonorant.data.manifest import Clip

LICENCE = "as the table's owner has it"

NAMES = ("manifest.tsv", "manifest.csv")
PATHS = ("file", "path", "file_name", "audio")
OWN = frozenset({"speaker", "language", "text"})
UNKNOWN = frozenset({"", "-", "?"})


def matches(folder: Path) -> bool:
    """Whether there is such a table, and not one of Common Voice's."""
    if folder.suffix in (".tsv", ".csv"):
        return folder.is_file() and not (folder.parent / "clips").is_dir()
    return folder.is_dir() and any((folder / name).is_file() for name in NAMES)


def read(folder: Path, out: Path) -> Iterator[Entry]:
    """An entry for each row; a clip's id is its file without the ending."""
    table = folder if folder.is_file() else next(folder / name for name in NAMES if (folder / name).is_file())
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            tabs = table.suffix == ".tsv"
            rows = csv.DictReader(
                file, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
            )
            header = [(name or "").strip() for name in rows.fieldnames or ()]
            audio = next((name for name in PATHS if name in header), None)
            if audio is None:
                raise CorpusError(f"{table}:1: no column {', '.join(PATHS)}, but {', '.join(header)}")
            for number, row in enumerate(rows, start=2):
                yield _entry(row, audio, table, number)
    except UnicodeDecodeError as error:
        raise CorpusError(f"{table}: not UTF-8 at byte {error.start} (convert it)") from error


def _entry(row: dict[str, str | None], audio: str, table: Path, number: int) -> Entry:
    values = {
        (name or "").strip(): (value or "").strip() for name, value in row.items() if isinstance(value, str)
    }
    known = {name: value for name, value in values.items() if value not in UNKNOWN}
    if audio not in known:
        raise CorpusError(f"{table}:{number}: no {audio} (correct the row)")
    path = known.pop(audio)
    labels: dict[str, str] = {}
    for name, value in known.items():
        if name not in OWN:
            labels |= _labels(name, value)
    clip = Clip(
        Path(path).with_suffix("").as_posix(),
        str(table.parent / path),
        speaker=known.get("speaker"),
        language=known.get("language"),
        text=known.get("text"),
        labels=labels or None,
    )
    return Entry(clip)


def _labels(column: str, value: str) -> dict[str, str]:
    parts = [part.partition("=") for part in value.split(";") if part.strip()]
    if all(name.strip() and equals for name, equals, _ in parts):
        return {f"{column}.{name.strip()}": each.strip() for name, _, each in parts if each.strip()}
    return {column: value}
