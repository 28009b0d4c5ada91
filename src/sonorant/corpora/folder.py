"""A plain folder of audio, any size: text beside each file as NAME.txt, or in a metadata.csv, or none.

metadata.csv stands in the folder or in folders below it, like Hugging Face's `audiofolder` (a header with
file_name or path, text or transcription or sentence; speaker and language if known) or like LJSpeech
(`id|text|normalised text` without a header, audio in wavs/). Its rows are separated by commas or bars.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sonorant.data.audio import EXTENSIONS
from sonorant.data.entries import CorpusError, Entry, Skipped, audio_files
from sonorant.data.manifest import Clip

LICENCE = "as the folder's owner has it"

PATHS = ("file_name", "path", "file", "audio")
TEXTS = ("text", "transcription", "transcript", "sentence")

Row = dict[str, str]


def matches(folder: Path) -> bool:
    """Whether there is audio below the folder."""
    return folder.is_dir() and next(audio_files(folder), None) is not None


def read(folder: Path, out: Path) -> Iterator[Entry | Skipped]:
    """An entry for each audio file below the folder, and for what metadata.csv lists and nobody finds."""
    rows: dict[Path, Row] = {}
    for path in sorted(folder.rglob("metadata.csv")):
        rows |= _rows(path)
    files = list(audio_files(folder))
    stems = Counter(path.relative_to(folder).with_suffix("") for path in files)
    for path in files:
        name = path.relative_to(folder)
        stem = name.with_suffix("")
        yield Entry(_clip(stem if stems[stem] == 1 else name, path, rows.get(path)))
    for path in rows.keys() - set(files):
        yield Skipped(str(path), f"{path}: listed in metadata.csv, but there is no such audio file")


def _clip(name: Path, path: Path, row: Row | None) -> Clip:
    beside = path.with_suffix(".txt")
    if row is not None:
        text = next((row[column] for column in TEXTS if row.get(column)), None)
    elif beside.exists():
        text = _decoded(beside)
    else:
        text = None
    row = row or {}
    speaker = row.get("speaker") or row.get("speaker_id")
    language = row.get("language") or row.get("locale")
    text = " ".join((text or "").split()) or None
    return Clip(name.as_posix(), str(path), speaker=speaker or None, language=language or None, text=text)


def _rows(path: Path) -> dict[Path, Row]:
    """The rows of a metadata.csv by the audio file that each describes."""
    lines = _decoded(path).splitlines()
    bars = bool(lines) and "|" in lines[0]
    reader = csv.reader(lines, delimiter="|", quoting=csv.QUOTE_NONE) if bars else csv.reader(lines)
    table = [row for row in reader if row]
    header = [name.strip().lower() for name in table[0]] if table else []
    column = next((name for name in PATHS if name in header), None)
    if column is None and not bars:
        raise CorpusError(
            f"{path}:1: no column for the audio: {', '.join(header)} (name one {' or '.join(PATHS)})"
        )
    rows: dict[Path, Row] = {}
    for number, cells in enumerate(table[1:] if column else table, start=2 if column else 1):
        if column is None:
            row = {"path": cells[0], "text": cells[-1]}
        else:
            row = dict(zip(header, cells, strict=False))
        if len(cells) < 2 or not row.get(column or "path"):
            raise CorpusError(f"{path}: row {number}: no audio file or no text: {cells!r} (correct the row)")
        rows[_audio(path.parent, row[column or "path"])] = row
    return rows


def _audio(folder: Path, name: str) -> Path:
    """The file that a row means: by its name, or by its id as LJSpeech has it."""
    if Path(name).suffix.lower() in EXTENSIONS:
        return folder / name
    candidates = [place / f"{name}{suffix}" for place in (folder / "wavs", folder) for suffix in EXTENSIONS]
    return next((path for path in candidates if path.exists()), folder / name)


def _decoded(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: not UTF-8 at byte {error.start} (convert it: iconv -t UTF-8)") from error
