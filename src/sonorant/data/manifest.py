"""The list of clips that everything reads: one JSON object a line, in UTF-8.

SCHEMA of a line (a key that is not listed is an error):

    id        string, required   unique in the manifest
    path      string, required   audio file or archive; relative paths start at the manifest's folder
    start     integer >= 0, 0    first sample of the clip, in the file's own samples
    samples   integer >= 0, 0    its length, in the same samples; 0: not known, to the end of the file
    rate      integer >= 0, 0    the file's own samples a second; 0: not known
    offset    integer >= 0, 0    first byte of the audio file in an archive that is not compressed (tar)
    size      integer >= 0, 0    its bytes there; 0: `path` is the audio file itself
    speaker   string             who speaks
    language  string             what is spoken, a BCP 47 tag such as `it`
    text      string             what is said
    units     list of [label, start, end]   phones or words, in seconds from the clip's start
    source    string             the collection the clip comes from
    labels    object of strings  whatever else is known, by name: `{"emotion": "joy"}`; docs/bench.md has
                                 the names that tasks read
    confidence  list of numbers  how sure a recogniser is, 0 to 1, of each character of `text`, which it wrote

A manifest is checked whole when it is read, and then stays on disk: ten million clips are 300 MB in memory.
"""

import operator
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, overload

import msgspec
import numpy as np
from jaxtyping import Bool, Float64, Shaped

_CHUNK = 1 << 20  # bytes that are decoded at once: they and their clips stay in the cache of a core

_ROW = np.dtype(
    [("start", "i8"), ("bytes", "i4"), ("key", "i8"), ("seconds", "f8"), ("text", "?"), ("packed", "?")]
)
"""What is kept of a line: where it stands, its id's hash, whether it has a text, whether its audio lies in an
archive."""

Rows = Shaped[np.ndarray, " rows"]


class ManifestError(ValueError):
    """A mistake in a manifest, in one line: where, what, and the way out."""


class Clip(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """A stretch of an audio file and what is known about it; the module's docstring documents each field."""

    id: str
    path: str
    start: int = 0
    samples: int = 0
    rate: int = 0
    offset: int = 0
    size: int = 0
    speaker: str | None = None
    language: str | None = None
    text: str | None = None
    units: list[tuple[str, float, float]] | None = None
    source: str | None = None
    labels: dict[str, str] | None = None
    confidence: list[Annotated[float, msgspec.Meta(ge=0, le=1)]] | None = None

    def __post_init__(self) -> None:
        positive = self.start >= 0 and self.samples >= 0 and self.rate >= 0 and self.offset >= 0
        inside = self.size >= bool(self.offset)
        plain = self.units is None and self.confidence is None
        if not (positive and inside and self.id and self.path and plain):
            self._check()  # apart, because ten million clips do not need it

    def _check(self) -> None:
        for name in ("id", "path"):
            if not getattr(self, name):
                raise ValueError(f"{name}: expected a name, got an empty string")
        for name in ("start", "samples", "rate", "offset", "size"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected a number that is not negative, got {getattr(self, name)}")
        if self.offset and not self.size:
            raise ValueError("offset: expected `size` beside it, the bytes of the audio")
        for label, start, end in self.units or ():
            if not 0 <= start <= end:
                raise ValueError(
                    f"units: {label!r} runs from {start} s to {end} s: expected 0 <= start <= end"
                )
        if self.confidence is not None and len(self.confidence) != len(self.text or ""):
            raise ValueError("confidence: expected a number for each character of `text`, or none at all")

    @property
    def seconds(self) -> float:
        """The clip's length; ValueError if the manifest does not give it."""
        if not self.samples or not self.rate:
            raise ValueError(f"{self.id}: length not known (give `samples` and `rate` in the manifest)")
        return self.samples / self.rate


_decode: Callable[[bytes], Clip] = msgspec.json.Decoder(Clip).decode
_decode_lines: Callable[[bytes], list[Clip]] = msgspec.json.Decoder(Clip).decode_lines


class Manifest(Sequence[Clip]):
    """The clips of a file in its order, with absolute paths, each decoded when it is asked for.

    A slice is a Manifest too. ManifestError, when a clip is asked for: the file was changed in the meantime.
    """

    def __init__(self, file: "_File", rows: Rows) -> None:
        self._file = file
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Clip: ...

    @overload
    def __getitem__(self, place: slice) -> "Manifest": ...

    def __getitem__(self, place: int | slice) -> "Clip | Manifest":
        if isinstance(place, slice):
            return Manifest(self._file, self._rows[place])
        start, size, key, *_ = self._rows[place].item()
        return self._file.clip(start, size, key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def where(self, keep: Bool[np.ndarray, " clips"]) -> "Manifest":
        """The clips for which it is True."""
        return Manifest(self._file, self._rows[keep])

    @property
    def seconds(self) -> Float64[np.ndarray, " clips"]:
        """Each clip's length; NaN where the manifest does not give it."""
        return np.ascontiguousarray(self._rows["seconds"])

    @property
    def transcribed(self) -> Bool[np.ndarray, " clips"]:
        """Whether each clip has a text."""
        return np.ascontiguousarray(self._rows["text"])

    @property
    def packed(self) -> bool:
        """Whether clips lie in archives, one behind the other."""
        return bool(self._rows["packed"].any())


class _File:
    """A manifest's file, kept open: whoever writes a new one in its place changes nothing here."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = str(path.absolute().parent)
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def clip(self, start: int, size: int, key: int) -> Clip:
        line = os.pread(self._descriptor, size, start)
        try:
            clip = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            clip = None
        if clip is None or hash(clip.id) != key:
            raise ManifestError(f"{self.path}: was changed while it was in use (start again)")
        return msgspec.structs.replace(clip, path=os.path.join(self._folder, clip.path))  # noqa: PTH118

    def line(self, start: int) -> int:
        """The number of the line that begins at this byte."""
        parts = (os.pread(self._descriptor, min(_CHUNK, start - at), at) for at in range(0, start, _CHUNK))
        return 1 + sum(part.count(b"\n") for part in parts)

    def chunks(self) -> Iterator[bytes]:
        """The file in parts that end where a line ends."""
        with open(self._descriptor, "rb", closefd=False) as file:
            while chunk := file.read(_CHUNK) + file.readline():
                yield chunk if chunk.endswith(b"\n") else chunk + b"\n"


def read(path: Path) -> Manifest:
    """The clips of a manifest, every line of it checked.

    ManifestError: the file is missing or has no clips, or a line is not as the schema says.
    """
    parts: list[Rows] = [np.empty(0, _ROW)]
    start, number = 0, 1
    try:
        file = _File(path)
        for chunk in file.chunks():
            parts.append(_rows(chunk, start, path, number))
            start, number = start + len(chunk), number + chunk.count(b"\n")
    except IsADirectoryError as error:
        raise ManifestError(
            f"{path}: is a folder (list what is in it: sonorant manifest {path} --out FILE)"
        ) from error
    except OSError as error:
        raise ManifestError(
            f"{path}: cannot be read: {error.strerror} (check the manifest's path)"
        ) from error
    rows = np.concatenate(parts)
    if not len(rows):
        raise ManifestError(f"{path}: has no clips (write one JSON object a line)")
    _check_ids(file, rows)
    return Manifest(file, rows)


def _rows(chunk: bytes, start: int, path: Path, number: int) -> Rows:
    """What is kept of whole lines; the first one begins at byte `start` of the file and is line `number`."""
    characters = np.frombuffer(chunk, np.uint8)
    ends = np.flatnonzero(characters == ord("\n"))
    starts = np.append(0, ends[:-1] + 1)
    full = np.maximum.reduceat(characters > ord(" "), starts)
    try:
        clips = _decode_lines(chunk)
    except (msgspec.DecodeError, UnicodeDecodeError):
        clips = []
    if len(clips) != full.sum():
        for each, line in enumerate(chunk.split(b"\n"), start=number):
            _check(line, f"{path}:{each}")
    rows = np.empty(len(clips), _ROW)
    rows["start"] = start + starts[full]
    rows["bytes"] = (ends - starts)[full]
    rows["key"] = [hash(clip.id) for clip in clips]
    rows["seconds"] = [clip.samples / clip.rate if clip.samples and clip.rate else np.nan for clip in clips]
    rows["text"] = [bool(clip.text) for clip in clips]
    rows["packed"] = [clip.size > 0 for clip in clips]
    return rows


def _check(line: bytes, place: str) -> None:
    """ManifestError if a line is not as the schema says."""
    try:
        if line.strip(b" \t\r"):
            _decode(line)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        key = where.strip("`.")
        cause = f"{key}: {message}" if key else message
        raise ManifestError(f"{place}: {cause.replace('`', '')} (correct the line)") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{place}: not a JSON object: {error} (one object a line, in UTF-8)") from error


def _check_ids(file: _File, rows: Rows) -> None:
    """ManifestError if two clips have the same id."""
    keys = np.sort(rows["key"])
    twice = keys[1:][keys[1:] == keys[:-1]]
    starts: dict[str, int] = {}
    for row in rows[np.isin(rows["key"], twice)] if len(twice) else ():
        start, size, key, *_ = row.item()
        name = file.clip(start, size, key).id
        if name in starts:
            raise ManifestError(
                f"{file.path}:{file.line(start)}: id {name!r} already stands in line "
                f"{file.line(starts[name])} (give each clip its own id)"
            )
        starts[name] = start


def seconds(clips: Sequence[Clip]) -> Float64[np.ndarray, " clips"]:
    """Each clip's length. ValueError: the manifest does not give one."""
    lengths = clips.seconds if isinstance(clips, Manifest) else np.array([clip.seconds for clip in clips])
    if (unknown := np.isnan(lengths)).any():
        _ = clips[int(unknown.argmax())].seconds  # which tells
    return lengths


def where(clips: Sequence[Clip], keep: Bool[np.ndarray, " clips"]) -> Sequence[Clip]:
    """The clips for which it is True."""
    if isinstance(clips, Manifest):
        return clips.where(keep)
    return [clip for clip, kept in zip(clips, keep.tolist(), strict=True) if kept]


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
