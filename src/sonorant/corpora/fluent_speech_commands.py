"""The layout of Fluent Speech Commands: data/{train,valid,test}_data.csv and audio below wavs/.

30,043 spoken orders, 248 phrases, 97 speakers; L. Lugosch et al., 2019, https://arxiv.org/abs/1904.03670, for
academic use. Labels: intent.action, intent.object, intent.location.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from sonorant.data.entries import CorpusError, Entry
from sonorant.data.manifest import Clip

LICENCE = "Fluent Speech Commands Public License, for academic research"

TABLES = {"train_data.csv": "train", "valid_data.csv": "validation", "test_data.csv": "test"}
COLUMNS = ("path", "speakerId", "transcription", "action", "object", "location")
SLOTS = COLUMNS[3:]


def matches(folder: Path) -> bool:
    """Whether the three tables are there."""
    return all((folder / "data" / name).is_file() for name in TABLES)


def read(folder: Path, out: Path) -> Iterator[Entry]:
    """An entry for each row."""
    for name, split in TABLES.items():
        table = folder / "data" / name
        with table.open(encoding="utf8", newline="") as file:
            rows = csv.DictReader(file)
            if missing := set(COLUMNS) - set(rows.fieldnames or ()):
                raise CorpusError(f"{table}:1: no column {sorted(missing)[0]}, but {rows.fieldnames}")
            for row in rows:
                labels = {f"intent.{slot}": row[slot] for slot in SLOTS} | {"split": split}
                clip = Clip(
                    Path(row["path"]).with_suffix("").as_posix(),
                    str(folder / row["path"]),
                    speaker=row["speakerId"],
                    language="en",
                    text=row["transcription"] or None,
                    labels=labels,
                    source="fluent_speech_commands",
                )
                yield Entry(clip)
