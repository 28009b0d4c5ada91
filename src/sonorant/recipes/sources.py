"""Which audio is meant by files, folders and manifests, and where what is made of it goes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sonorant import corpora
from sonorant.config import ConfigError
from sonorant.data.entries import Progress, Skipped, audio_files
from sonorant.data.manifest import Clip, read


@dataclass(frozen=True)
class Source:
    """An audio file or a manifest."""

    path: Path
    name: Path  # without an ending; in a folder that was asked for, the file's place there

    @property
    def is_manifest(self) -> bool:
        return self.path.suffix == ".jsonl"


def sources(paths: Sequence[Path]) -> list[Source]:
    """The files and manifests themselves, and all audio files below the folders.

    ConfigError: a folder has none, or two files would have the same name, endings aside.
    """
    found = [source for path in paths for source in _sources(path)]
    first: dict[tuple[Path, bool], Source] = {}
    for each in found:
        other = first.setdefault((each.name, each.is_manifest), each)
        if other is not each:
            raise ConfigError(
                f"{other.path} and {each.path}: what is made of them would have the same name, {each.name} "
                "(rename one of them, or give them one by one)"
            )
    return found


def _sources(path: Path) -> Iterator[Source]:
    if not path.is_dir():
        yield Source(path, Path(path.stem))
        return
    files = list(audio_files(path))
    if not files:
        raise ConfigError(f"{path}: has no audio files (name another folder, a file or a manifest)")
    for file in files:
        yield Source(file, file.relative_to(path).with_suffix(""))


def gathered(
    source: Path, folder: Path, progress: Progress | None = None
) -> tuple[Sequence[Clip], Sequence[Skipped]]:
    """The clips of a manifest, or of a folder of audio, and what was left out; `folder` is for audio that has
    no file of its own.

    ManifestError, CorpusError: there are none.
    """
    if not source.is_dir():
        return read(source), []
    found = corpora.read(source, out=folder, progress=progress)
    return found.clips, found.skipped
