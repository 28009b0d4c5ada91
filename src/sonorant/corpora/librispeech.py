"""The layout of LibriSpeech, MLS and others: SPEAKER-CHAPTER.trans.txt with `ID TEXT` lines beside ID.flac.

LibriSpeech has 982 hours of English read aloud by 2484 speakers; https://www.openslr.org/12, CC BY 4.0.
"""

from collections.abc import Iterator
from pathlib import Path

from sonorant.data.audio import EXTENSIONS
from sonorant.data.entries import CorpusError, Entry, Skipped
from sonorant.data.manifest import Clip

LICENCE = "CC BY 4.0 for LibriSpeech; others as they say"


def matches(folder: Path) -> bool:
    """Whether there is a *.trans.txt below the folder."""
    return folder.is_dir() and next(folder.rglob("*.trans.txt"), None) is not None


def read(folder: Path, out: Path) -> Iterator[Entry | Skipped]:
    """An entry for each line of each *.trans.txt; the id's first part is the speaker."""
    for transcripts in sorted(folder.rglob("*.trans.txt")):
        try:
            lines = transcripts.read_text(encoding="utf8").splitlines()
        except UnicodeDecodeError as error:
            raise CorpusError(f"{transcripts}: not UTF-8 at byte {error.start} (convert it)") from error
        audio = {
            path.stem: path for path in transcripts.parent.iterdir() if path.suffix.lower() in EXTENSIONS
        }
        for line in lines:
            name, _, text = line.strip().partition(" ")
            if name in audio:
                speaker = name.split("-")[0]
                path = str(audio[name])
                yield Entry(
                    Clip(name, path, speaker=speaker, text=text.strip() or None, source="librispeech")
                )
            elif name:
                yield Skipped(name, f"{transcripts}: {name}: no audio file of this name beside it")
