"""The list of clips that everything reads: one JSON object a line, in UTF-8.

SCHEMA of a line (a key that is not listed is an error):

    id        string, required   unique in the manifest
    path      string, required   audio file; relative paths start at the manifest's folder
    start     integer >= 0, 0    first sample of the clip, in the file's own samples
    samples   integer >= 0, 0    its length, in the same samples; 0: not known, to the end of the file
    rate      integer >= 0, 0    the file's own samples a second; 0: not known
    speaker   string             who speaks
    language  string             what is spoken, a BCP 47 tag such as `it`
    text      string             what is said
    units     list of [label, start, end]   phones or words, in seconds from the clip's start
    source    string             the collection the clip comes from
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec


class ManifestError(ValueError):
    """A mistake in a manifest, in one line: where, what, and the way out."""


class Clip(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A stretch of an audio file and what is known about it; the module's docstring documents each field."""

    id: str
    path: str
    start: int = 0
    samples: int = 0
    rate: int = 0
    speaker: str | None = None
    language: str | None = None
    text: str | None = None
    units: list[tuple[str, float, float]] | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("id", self.id), ("path", self.path)):
            if not value:
                raise ValueError(f"{name}: expected a name, got an empty string")
        for name, number in (("start", self.start), ("samples", self.samples), ("rate", self.rate)):
            if number < 0:
                raise ValueError(f"{name}: expected a number that is not negative, got {number}")
        for label, start, end in self.units or ():
            if not 0 <= start <= end:
                raise ValueError(
                    f"units: {label!r} runs from {start} s to {end} s: expected 0 <= start <= end"
                )

    @property
    def seconds(self) -> float:
        """The clip's length; ValueError if the manifest does not give it."""
        if not self.samples or not self.rate:
            raise ValueError(f"{self.id}: length not known (give `samples` and `rate` in the manifest)")
        return self.samples / self.rate


def read(path: Path) -> list[Clip]:
    """The clips of a manifest in its order, with absolute paths.

    ManifestError: the file is missing or has no clips, or a line is not as the schema says.
    """
    folder = path.absolute().parent
    clips: list[Clip] = []
    lines: dict[str, int] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                clip = _decode(line, f"{path}:{number}")
                if clip.id in lines:
                    raise ManifestError(
                        f"{path}:{number}: id {clip.id!r} already stands in line {lines[clip.id]} "
                        "(give each clip its own id)"
                    )
                lines[clip.id] = number
                clips.append(msgspec.structs.replace(clip, path=str(folder / clip.path)))
    except OSError as error:
        raise ManifestError(
            f"{path}: cannot be read: {error.strerror} (check the manifest's path)"
        ) from error
    if not clips:
        raise ManifestError(f"{path}: has no clips (write one JSON object a line)")
    return clips


def write(path: Path, clips: Iterable[Clip]) -> None:
    """Write a manifest whole or not at all; paths below its folder become relative, so that both can move.

    ManifestError: there is no clip, or an id comes twice, or a name is not Unicode.
    """
    folder = path.absolute().parent
    partial = path.with_name(f"{path.name}.partial")
    seen: set[str] = set()
    encoder = msgspec.json.Encoder()
    try:
        with partial.open("wb") as file:
            for clip in clips:
                if clip.id in seen:
                    raise ManifestError(f"{path}: id {clip.id!r} comes twice (give each clip its own id)")
                seen.add(clip.id)
                audio = Path(clip.path).absolute()
                place = audio.relative_to(folder) if audio.is_relative_to(folder) else audio
                file.write(encoder.encode(msgspec.structs.replace(clip, path=place.as_posix())) + b"\n")
        if not seen:
            raise ManifestError(f"{path}: there are no clips to write (check what selects them)")
        partial.replace(path)
    except UnicodeEncodeError as error:
        raise ManifestError(f"{path}: not valid Unicode: {error.object!r} (rename the file)") from error
    except OSError as error:
        raise ManifestError(
            f"{path}: cannot be written: {error.strerror} (check folder and space)"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _decode(line: bytes, place: str) -> Clip:
    try:
        return msgspec.json.decode(line, type=Clip)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        key = where.strip("`.")
        cause = f"{key}: {message}" if key else message
        raise ManifestError(f"{place}: {cause.replace('`', '')} (correct the line)") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{place}: not a JSON object: {error} (one object a line, in UTF-8)") from error
