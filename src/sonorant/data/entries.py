"""What a corpus lists, and the one place where the audio behind it is looked at.

A reader of a layout yields an `Entry` for each utterance, in seconds as most layouts have it, or a `Skipped`
where it can see no audio; `checked` opens each file once and makes clips, in samples, of what is sound.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec

from sonorant.data import audio
from sonorant.data.manifest import Clip


class CorpusError(ValueError):
    """A corpus cannot be read or made: what is wrong, where, and the way out; one line."""


class Entry(NamedTuple):
    """A clip as a corpus lists it, from `start` s for `seconds` s; None: to the end of its file."""

    clip: Clip
    start: float = 0.0
    seconds: float | None = None


class Skipped(NamedTuple):
    """Audio that cannot be used, and why."""

    path: str
    reason: str


class Checked(NamedTuple):
    """Clips whose audio exists and opens, with their length and rate, and what was left out."""

    clips: list[Clip]
    skipped: list[Skipped]


Progress = Callable[[int, int], None]

_File = tuple[str, int, int]  # a path, and where in it the audio lies
_Look = tuple[int, int] | str  # samples and rate, or what is wrong


def checked(entries: Iterable[Entry | Skipped], *, progress: Progress | None = None) -> Checked:
    """Look at the audio of each entry; `progress` is told the number of files looked at and of all.

    Threads share the work, because decoding lets other threads run.
    """
    listed = list(entries)
    wanted = list(dict.fromkeys(_file(entry.clip) for entry in listed if isinstance(entry, Entry)))
    files: dict[_File, _Look] = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for file, look in zip(wanted, pool.map(_look, wanted), strict=True):
            files[file] = look
            if progress is not None:
                progress(len(files), len(wanted))
    clips: list[Clip] = []
    skipped: list[Skipped] = []
    for entry in listed:
        found = entry if isinstance(entry, Skipped) else _clip(entry, files[_file(entry.clip)])
        if isinstance(found, Skipped):
            skipped.append(found)
        else:
            clips.append(found)
    return Checked(clips, skipped)


def whole(entries: Iterable[Entry]) -> list[Clip]:
    """The clips of a corpus that has to be complete; CorpusError if any of its audio is damaged."""
    clips, skipped = checked(entries)
    if skipped:
        raise CorpusError(
            f"{len(skipped)} files are damaged, first {skipped[0].reason} (fetch the corpus again)"
        )
    return clips


def _file(clip: Clip) -> _File:
    return clip.path, clip.offset, clip.size


def _look(file: _File) -> _Look:
    path, offset, size = file
    try:
        return audio.inspect(Path(path), offset, size)
    except audio.AudioError as error:
        return str(error)


def _clip(entry: Entry, look: _Look) -> Clip | Skipped:
    path = entry.clip.path
    if isinstance(look, str):
        return Skipped(path, look)
    total, rate = look
    start = round(entry.start * rate)
    samples = total - start if entry.seconds is None else round(entry.seconds * rate)
    # A length that was rounded to 10 ms may point past the end: the file's own end counts then.
    if total < start + samples <= total + rate // 100:
        samples = total - start
    if start < 0 or samples <= 0 or start + samples > total:
        lies = f"{entry.start:g} s to {(start + samples) / rate:g} s"
        return Skipped(path, f"{path}: {entry.clip.id!r} lies at {lies} of a file of {total / rate:g} s")
    return msgspec.structs.replace(entry.clip, start=start, samples=samples, rate=rate)


def audio_files(folder: Path) -> Iterator[Path]:
    """The audio files below the folder in the order of their names; hidden ones are not data."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in audio.EXTENSIONS and not path.name.startswith("."):
            yield path


def resolve(path: str, folder: Path) -> str:
    """A listed path: absolute, below the folder, or below the working directory, as such lists have it."""
    below = folder / path
    return str(below if below.exists() else Path(path)) if not Path(path).is_absolute() else path
