"""NVIDIA NeMo's manifests: one JSON object a line with audio_filepath, offset and duration (s), and text.

https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html. A file, or a folder
with such files; relative paths start at the file's folder or else at the working directory.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from sonorant.data.entries import CorpusError, Entry, resolve
from sonorant.data.manifest import Clip

LICENCE = "as the manifest's owner has it"


class Line(msgspec.Struct):
    """What is used of a line; other keys are the owner's own."""

    audio_filepath: str
    offset: float | None = None
    duration: float | None = None
    text: str | None = None
    speaker: str | int | None = None
    lang: str | None = None


def matches(folder: Path) -> bool:
    """Whether a file's first line, or that of a file in the folder, has an audio_filepath."""
    return any(_is_manifest(path) for path in _files(folder))


def read(folder: Path, out: Path) -> Iterator[Entry]:
    """An entry for each line; a clip's id is its path as listed, with `@` and its offset where it has one."""
    for file in _files(folder):
        if not _is_manifest(file) and file != folder:
            continue
        with file.open("rb") as lines:
            for number, text in enumerate(lines, start=1):
                if text.strip():
                    yield _entry(text, file, number)


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    return sorted(path for path in folder.glob("*.json*") if path.suffix in (".json", ".jsonl"))


def _is_manifest(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            first: Any = json.loads(file.readline(1 << 20))
    except (OSError, ValueError):
        return False
    return isinstance(first, dict) and "audio_filepath" in first


def _entry(text: bytes, file: Path, number: int) -> Entry:
    try:
        line = msgspec.json.decode(text, type=Line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorpusError(f"{file}:{number}: {error} (correct the line)") from error
    name = line.audio_filepath if not line.offset else f"{line.audio_filepath}@{line.offset:g}"
    clip = Clip(
        name,
        resolve(line.audio_filepath, file.parent),
        speaker=None if line.speaker is None else str(line.speaker),
        language=line.lang,
        text=line.text or None,
    )
    # A whole file's listed duration is often rounded: the file itself knows its end.
    return Entry(clip, line.offset or 0.0, line.duration if line.offset is not None else None)
