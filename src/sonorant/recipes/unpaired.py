"""What joint training learns from, made of what users have: two manifests of folders, and sentences."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec

from sonorant.asr.vocabulary import Spelling
from sonorant.config import ConfigError
from sonorant.data.entries import Progress
from sonorant.data.manifest import Clip, write
from sonorant.recipes.fit import say
from sonorant.recipes.sources import gathered
from sonorant.tts.speak import Missing
from sonorant.tts.spoken import UnspeakableError, spoken

LONGEST, PIECE = 30.0, 15.0  # seconds: longer speech is cut into clips of about so many
LISTED = 10  # lines that are left out and told one by one

_Place = tuple[str, int, int]  # where a clip's audio begins: a file, a byte, a sample


class Sentences(NamedTuple):
    """A text's lines, empty where one is left out, and why."""

    lines: list[str]
    skipped: list[Missing]

    @property
    def characters(self) -> int:
        return sum(map(len, self.lines))


def listed(source: Path, folder: Path, *, quiet: bool, progress: Progress | None = None) -> Sequence[Clip]:
    """The clips of `gathered`, telling what was left out."""
    clips, skipped = gathered(source, folder, progress)
    for path, reason in skipped[:LISTED]:
        say(f"skipped {path}: {reason.removeprefix(f'{path}: ')}", quiet=quiet)
    if len(skipped) > LISTED:
        say(f"{len(skipped)} files skipped in all", quiet=quiet)
    return clips


def write_paired(source: Path, clips: Sequence[Clip], file: Path) -> None:
    """The clips that have a text. ConfigError: none has."""
    transcribed = [clip for clip in clips if clip.text]
    if not transcribed:
        raise ConfigError(
            f"{source}: no clip has a text (put NAME.txt beside NAME.wav, or leave --paired out)"
        )
    write(file, transcribed)


def write_speech(source: Path, clips: Sequence[Clip], paired: Sequence[Clip], file: Path) -> None:
    """The clips that are not among the paired ones, long ones in pieces. ConfigError: none is left."""
    known = {_place(clip) for clip in paired}
    others = [piece for clip in clips if _place(clip) not in known for piece in pieces(clip)]
    if not others:
        raise ConfigError(f"{source}: every clip is among the paired ones (give --speech that has others)")
    write(file, others)


def pieces(clip: Clip) -> Iterator[Clip]:
    """A clip, or, if it is long, clips of equal length, without its text: nobody knows who says what."""
    if clip.seconds <= LONGEST:
        yield clip
        return
    count = math.ceil(clip.seconds / PIECE)
    bounds = [clip.samples * number // count for number in range(count + 1)]
    for number, (start, end) in enumerate(pairwise(bounds)):
        name, first = f"{clip.id}-{number:04d}", clip.start + start
        yield msgspec.structs.replace(
            clip, id=name, start=first, samples=end - start, text=None, units=None, confidence=None
        )


def sentences(lines: Sequence[str], source: Path, vocabulary: Spelling | None, language: str) -> Sentences:
    """The lines that can be spoken and, where there is a vocabulary, spelled with it.

    ConfigError: none can be.
    """
    found, skipped = [], []
    for number, line in enumerate(lines, start=1):
        reason = _unusable(line, vocabulary, language) if line.strip() else None
        found.append("" if reason else line)
        if reason:
            skipped.append(Missing(number, reason))
    if not any(line.strip() for line in found):
        raise ConfigError(f"{source}:{skipped[0].line}: {skipped[0].reason}; nor can any other line be used")
    return Sentences(found, skipped)


def tell(source: Path, skipped: Sequence[Missing], *, quiet: bool) -> None:
    """A line for each of the first lines that are left out, and their number."""
    for line, reason in skipped[:LISTED]:
        say(f"skipped {source}:{line}: {reason}", quiet=quiet)
    if len(skipped) > LISTED:
        say(f"skipped {len(skipped)} lines of {source} in all", quiet=quiet)


def _unusable(line: str, vocabulary: Spelling | None, language: str) -> str | None:
    try:
        text = spoken(line, language)
    except UnspeakableError as error:
        return str(error)
    if vocabulary is None:
        return None
    normal = vocabulary.normalise(text)
    if strange := sorted(set(normal) - {*vocabulary.characters, " "}):
        return f"no transcript has {', '.join(map(repr, strange))}, so that there is no label for it"
    return None if normal else "has nothing to spell"


def _place(clip: Clip) -> _Place:
    return str(Path(clip.path).resolve()), clip.offset, clip.start
