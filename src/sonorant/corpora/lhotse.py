"""Lhotse's cuts: a CutSet in a .jsonl.gz, or a Shar folder of archives; any size.

https://lhotse.readthedocs.io/en/latest/cuts.html. Needs the extra `lhotse`. Cuts of one channel are read.
Audio in files of its own is pointed at; audio inside a Shar, one channel of several, and audio that Lhotse
would change on the fly are written out as FLAC. Sources that are commands or addresses are skipped: nothing
is run or fetched.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import soundfile

from sonorant.data.entries import CorpusError, Entry, Skipped, resolve
from sonorant.data.manifest import Clip

LICENCE = "as the owner of the cuts has it"


def matches(folder: Path) -> bool:
    """Whether it is a file of cuts, or a folder with one, by their names."""
    return bool(_lists(folder))


def read(folder: Path, out: Path) -> Iterator[Entry | Skipped]:
    """An entry for each cut; audio that has to be written goes to `out`. CorpusError: Lhotse is missing."""
    for cut in _cuts(folder):
        if type(cut).__name__ != "MonoCut" or not cut.has_recording:
            yield Skipped(
                cut.id, f"{folder}: {cut.id}: a {type(cut).__name__}, expected a MonoCut with audio"
            )
        else:
            yield _entry(cut, folder if folder.is_dir() else folder.parent, out)


def _lists(folder: Path) -> list[Path]:
    """The files of cuts: the one that is named, or those in the folder."""
    files = [folder] if folder.is_file() else sorted(folder.glob("*cuts*"))
    return [file for file in files if file.name.endswith((".jsonl.gz", "cuts.jsonl"))]


def _cuts(folder: Path) -> Iterable[Any]:
    cuts: Iterable[Any]
    try:
        from lhotse import CutSet
    except ImportError as error:
        raise CorpusError(
            f"{folder}: cuts are read by Lhotse, which is missing: {error} (pip install 'sonorant[lhotse]')"
        ) from error
    files = _lists(folder)
    if not files:
        raise CorpusError(f"{folder}: no cuts found (expected a file like cuts.jsonl.gz)")
    if folder.is_dir() and next(folder.glob("recording.*.tar*"), None) is not None:
        cuts = CutSet.from_shar(in_dir=folder)
        return cuts
    if len(files) > 1:
        listed = ", ".join(file.name for file in files)
        raise CorpusError(f"{folder}: several files of cuts: {listed} (give one instead of the folder)")
    cuts = CutSet.from_file(files[0])
    return cuts


def _entry(cut: Any, folder: Path, out: Path) -> Entry | Skipped:
    recording = cut.recording
    kinds = {source.type for source in recording.sources}
    if not kinds <= {"file", "memory"}:
        kind = ", ".join(sorted(kinds - {"file", "memory"}))
        return Skipped(cut.id, f"{folder}: {cut.id}: its audio is a {kind}, which is never run or fetched")
    if kinds == {"file"} and recording.num_channels == 1 and not recording.transforms:
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
