"""Tar archives as WebDataset has them, any size: files with the same name up to its first dot are a sample.

https://github.com/webdataset/webdataset. A sample is audio, with NAME.txt or NAME.json (text or transcription
or sentence; speaker and language if known) or neither. Nothing is unpacked: the manifest tells where in its
archive each audio file lies. Clips are named ARCHIVE/NAME.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from sonorant.data.archive import ArchiveError, Member, content, members
from sonorant.data.audio import EXTENSIONS
from sonorant.data.entries import Entry, Skipped, audio_files
from sonorant.data.manifest import Clip

LICENCE = "as the archives' owner has it"

TEXTS = ("text", "transcription", "transcript", "sentence")
SPEAKERS, LANGUAGES = ("speaker", "speaker_id"), ("language", "locale")


def matches(folder: Path) -> bool:
    """Whether it is an archive, or a folder with archives, no lists of cuts, and no audio beside them."""
    if folder.is_file():
        return folder.suffix == ".tar"
    archives = next(folder.rglob("*.tar"), None) is not None
    return archives and not any(folder.glob("cuts.*")) and next(audio_files(folder), None) is None


def read(folder: Path, out: Path) -> Iterator[Entry | Skipped]:
    """An entry for each audio file in the archives, in the order in which they lie there."""
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*.tar")):
        name = path.name if folder.is_file() else path.relative_to(folder).as_posix()
        found: list[Member] = []
        try:
            found.extend(members(path))  # those that were found before the damage are kept
        except ArchiveError as error:
            yield Skipped(str(path), str(error))
        beside = {member.name: member for member in found if member.name.endswith((".txt", ".json"))}
        for member in found:
            if Path(member.name).suffix.lower() in EXTENSIONS:
                yield _entry(path, name.removesuffix(".tar"), member, beside)


def _entry(path: Path, archive: str, audio: Member, beside: dict[str, Member]) -> Entry | Skipped:
    if not audio.size:
        return Skipped(str(path), f"{path}: {audio.name} is empty, 0 bytes (fetch the archive again)")
    known: dict[str, Any] = {}
    where = Path(audio.name)
    sample = (where.parent / where.name.partition(".")[0]).as_posix()
    try:
        if described := beside.get(f"{sample}.json"):
            known = msgspec.json.decode(content(path, described), type=dict[str, Any])
        if said := beside.get(f"{sample}.txt"):
            known["text"] = content(path, said).decode("utf-8-sig")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Skipped(str(path), f"{path}: {sample}: its text is not UTF-8, or not a JSON object: {error}")
    clip = Clip(
        f"{archive}/{where.with_suffix('').as_posix()}",
        str(path),
        offset=audio.offset,
        size=audio.size,
        speaker=_first(known, SPEAKERS),
        language=_first(known, LANGUAGES),
        text=_first(known, TEXTS),
    )
    return Entry(clip)


def _first(known: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """What stands under the first of the names that is there, in one line."""
    value = next((known[name] for name in names if known.get(name) not in (None, "")), "")
    return " ".join(str(value).split()) or None
