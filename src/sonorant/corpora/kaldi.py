"""A Kaldi data directory: wav.scp, and text, utt2spk and segments where there are any.

https://kaldi-asr.org/doc/data_prep.html. A wav.scp line that ends in `|` is a command, which is refused:
nothing from data is executed. Relative paths start at the directory or else at the working directory.
"""

from collections.abc import Iterator
from pathlib import Path

from sonorant.data.entries import CorpusError, Entry, resolve
from sonorant.data.manifest import Clip

LICENCE = "as the folder's owner has it"


def matches(folder: Path) -> bool:
    """Whether there is a wav.scp."""
    return (folder / "wav.scp").is_file()


def read(folder: Path, out: Path) -> Iterator[Entry]:
    """An entry for each segment, or for each recording where there are no segments."""
    recordings = _table(folder / "wav.scp")
    for name, path in recordings.items():
        if "|" in path:
            raise CorpusError(
                f"{folder / 'wav.scp'}: {name}: {path!r} is a command, which is never run "
                "(write its output to a file and list that)"
            )
    texts = _table(folder / "text", needed=False)
    speakers = _table(folder / "utt2spk", needed=False)
    for name, (recording, start, seconds) in _pieces(folder, recordings).items():
        path = resolve(recordings[recording], folder)
        clip = Clip(name, path, speaker=speakers.get(name), text=texts.get(name) or None)
        yield Entry(clip, start, seconds)


def _pieces(folder: Path, recordings: dict[str, str]) -> dict[str, tuple[str, float, float | None]]:
    """The recording, the start and the length in seconds of each utterance."""
    file = folder / "segments"
    if not file.exists():
        return {name: (name, 0.0, None) for name in recordings}
    pieces: dict[str, tuple[str, float, float | None]] = {}
    for name, line in _table(file).items():
        try:
            recording, first, last = line.split()[:3]
            start, end = float(first), float(last)
        except ValueError as error:
            raise CorpusError(f"{file}: {name}: expected `recording start end`, got {line!r}") from error
        if recording not in recordings:
            raise CorpusError(f"{file}: {name}: recording {recording!r} is not in wav.scp (add it there)")
        pieces[name] = (recording, start, None if end < 0 else end - start)
    return pieces


def _table(file: Path, *, needed: bool = True) -> dict[str, str]:
    """The rest of each line by its first word."""
    if not needed and not file.exists():
        return {}
    try:
        lines = file.read_text(encoding="utf8").splitlines()
    except OSError as error:
        raise CorpusError(f"{file}: cannot be read: {error.strerror} (check the folder)") from error
    except UnicodeDecodeError as error:
        raise CorpusError(f"{file}: not UTF-8 at byte {error.start} (convert it)") from error
    pairs = (line.strip().partition(" ") for line in (line.replace("\t", " ", 1) for line in lines))
    return {name: rest.strip() for name, _, rest in pairs if name}
