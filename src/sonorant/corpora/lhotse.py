"""Lhotse's cuts: a CutSet in a .jsonl.gz, or a Shar folder of archives; any size.

https://lhotse.readthedocs.io/en/latest/cuts.html. Needs the extra `lhotse`. Cuts of one channel are read.
Audio in files of its own or in a Shar's archives is pointed at; one channel of several, audio in compressed
archives and audio that Lhotse would change on the fly are written out as FLAC. Sources that are commands or
addresses are skipped: nothing is run or fetched.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import soundfile

from sonorant.data.archive import ArchiveError, Member, members
from sonorant.data.entries import CorpusError, Entry, Skipped, resolve
from sonorant.data.manifest import Clip

LICENCE = "as the owner of the cuts has it"


def matches(folder: Path) -> bool:
    """Whether it is a file of cuts, or a folder with one, by their names."""
    return bool(_lists(folder))


def read(folder: Path, out: Path) -> Iterator[Entry | Skipped]:
    """An entry for each cut; audio that has to be written goes to `out`. CorpusError: Lhotse is missing."""
    for shard in _shards(folder):
        for cut in shard.cuts:
            if type(cut).__name__ != "MonoCut" or not cut.has_recording:
                yield Skipped(
                    cut.id, f"{folder}: {cut.id}: a {type(cut).__name__}, expected a MonoCut with audio"
                )
            else:
                yield _entry(cut, shard, folder if folder.is_dir() else folder.parent, out)


class _Shard(NamedTuple):
    """Cuts, and where in an archive their audio lies, if it does."""

    cuts: Iterable[Any]
    archive: Path | None = None
    members: dict[str, Member] = {}  # by the cut's id  # noqa: RUF012 (never changed)


def _lists(folder: Path) -> list[Path]:
    """The files of cuts: the one that is named, or those in the folder."""
    files = [folder] if folder.is_file() else sorted(folder.glob("*cuts*"))
    return [file for file in files if file.name.endswith((".jsonl.gz", "cuts.jsonl"))]


def _shards(folder: Path) -> Iterator[_Shard]:
    try:
        from lhotse import CutSet
    except ImportError as error:
        raise CorpusError(
            f"{folder}: cuts are read by Lhotse, which is missing: {error} (pip install 'sonorant[lhotse]')"
        ) from error
    files = _lists(folder)
    if not files:
        raise CorpusError(f"{folder}: no cuts found (expected a file like cuts.jsonl.gz)")
    archives = sorted(folder.glob("recording.*.tar*")) if folder.is_dir() else []
    if archives and len(archives) != len(files):
        raise CorpusError(
            f"{folder}: {len(files)} files of cuts for {len(archives)} archives (fetch what is missing)"
        )
    for file, archive in zip(files, archives, strict=False):
        cuts = CutSet.from_shar(fields={"cuts": [str(file)], "recording": [str(archive)]})
        yield _Shard(cuts, archive, _members(archive))
    if archives:
        return
    if len(files) > 1:
        listed = ", ".join(file.name for file in files)
        raise CorpusError(f"{folder}: several files of cuts: {listed} (give one instead of the folder)")
    yield _Shard(CutSet.from_file(files[0]))


def _members(archive: Path) -> dict[str, Member]:
    """The audio of an archive by the cuts' ids; none if it is compressed."""
    if archive.suffix != ".tar":
        return {}
    try:
        audio = [each for each in members(archive) if each.size and not each.name.endswith(".json")]
    except ArchiveError as error:
        raise CorpusError(str(error)) from error
    return {member.name.rpartition(".")[0]: member for member in audio}


def _entry(cut: Any, shard: _Shard, folder: Path, out: Path) -> Entry | Skipped:
    recording = cut.recording
    kinds = {source.type for source in recording.sources}
    if not kinds <= {"file", "memory"}:
        kind = ", ".join(sorted(kinds - {"file", "memory"}))
        return Skipped(cut.id, f"{folder}: {cut.id}: its audio is a {kind}, which is never run or fetched")
    untouched = recording.num_channels == 1 and not recording.transforms
    if untouched and (inside := shard.members.get(cut.id)) is not None:
        clip = _clip(cut, str(shard.archive))
        there = msgspec.structs.replace(clip, offset=inside.offset, size=inside.size)
        return Entry(there, cut.start, cut.duration)
    if untouched and kinds == {"file"}:
        path = resolve(recording.sources[0].source, folder)
        return Entry(_clip(cut, path), cut.start, cut.duration)
    from lhotse.audio import AudioLoadingError

    path = str(out / f"{quote(cut.id, safe='')}.flac")
    try:
        wave = cut.load_audio()
    except (AudioLoadingError, OSError, RuntimeError, ValueError) as error:
        return Skipped(cut.id, f"{folder}: {cut.id}: {' '.join(str(error).split())[:200]}")
    out.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave.T, cut.sampling_rate, subtype="PCM_16")
    return Entry(_clip(cut, path))


def _clip(cut: Any, path: str) -> Clip:
    said = cut.supervisions
    text = " ".join(part.text for part in said if part.text)
    speakers = {part.speaker for part in said}
    languages = {part.language for part in said}
    return Clip(
        cut.id,
        path,
        speaker=next(iter(speakers)) if len(speakers) == 1 else None,
        language=next(iter(languages)) if len(languages) == 1 else None,
        text=text or None,
    )
