"""The layout of Mozilla's Common Voice: a clips/ folder of MP3 and TSV files that list them.

More than 30,000 hours in more than 130 languages, read by volunteers; https://commonvoice.mozilla.org, CC0.
A folder gives the clips of its validated.tsv; a TSV file in its place gives those that it lists.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from sonorant.data.entries import CorpusError, Entry
from sonorant.data.manifest import Clip

LICENCE = "CC0 1.0"


def matches(folder: Path) -> bool:
    """Whether clips/ and a TSV file stand beside each other."""
    if folder.suffix == ".tsv":
        return (folder.parent / "clips").is_dir()
    return (folder / "clips").is_dir() and next(folder.glob("*.tsv"), None) is not None


def read(folder: Path, out: Path) -> Iterator[Entry]:
    """An entry for each row; the speaker is the anonymous client_id."""
    table = folder if folder.is_file() else folder / "validated.tsv"
    if not table.exists():
        others = ", ".join(sorted(path.name for path in folder.glob("*.tsv")))
        raise CorpusError(f"{table}: there is no such file (give one of {others} instead of the folder)")
    try:
        with table.open(encoding="utf8", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            if not {"path", "sentence"} <= set(rows.fieldnames or ()):
                raise CorpusError(f"{table}:1: expected columns path and sentence, got {rows.fieldnames}")
            for row in rows:
                yield Entry(_clip(row, table))
    except UnicodeDecodeError as error:
        raise CorpusError(f"{table}: not UTF-8 at byte {error.start} (unpack it again)") from error


def _clip(row: dict[str, str | None], table: Path) -> Clip:
    name = row["path"]
    if not name:
        raise CorpusError(f"{table}: a row has no path: {row} (correct the row)")
    path = table.parent / "clips" / name
    return Clip(
        Path(name).stem,
        str(path if path.suffix else path.with_suffix(".mp3")),
        speaker=row.get("client_id") or None,
        language=row.get("locale") or None,
        text=row.get("sentence") or None,
        source="common_voice",
    )
