"""The layout of Audio SNIPS as SUPERB has it: train/, valid/, test/ and all.iob.snips.txt.

Orders of the SNIPS set (A. Coucke et al., 2018, https://arxiv.org/abs/1805.10190), spoken by sixteen
synthetic voices. A line is `VOICE-snips-SPLIT-NUMBER BOS words EOS`, a tab, and a tag for BOS, for each
word, and the intent. Labels: iob, intent, split.
"""

from collections.abc import Iterator
from pathlib import Path

from sonorant.data.entries import CorpusError, Entry, Skipped, audio_files
from sonorant.data.manifest import Clip

LICENCE = "as the texts' and the voices' owners have it (CC0 for the texts)"

LIST = "all.iob.snips.txt"
SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def matches(folder: Path) -> bool:
    """Whether the list is there."""
    return (folder / LIST).is_file()


def read(folder: Path, out: Path) -> Iterator[Entry | Skipped]:
    """An entry for each audio file in the list, and what is said of those that are not."""
    lines: dict[str, str] = {}
    with (folder / LIST).open(encoding="utf8") as file:
        for line in file:
            name, _, rest = line.strip().partition(" ")
            lines[name] = rest
    for part, split in SPLITS.items():
        for path in audio_files(folder / part):
            if path.stem in lines:
                yield Entry(_clip(path, lines[path.stem], split, folder / LIST))
            else:
                yield Skipped(str(path), f"{path}: not in {LIST}")


def _clip(path: Path, line: str, split: str, file: Path) -> Clip:
    said, _, marks = line.partition("\t")
    words, tags = said.split()[1:-1], marks.split()
    if len(tags) != len(words) + 2:
        raise CorpusError(f"{file}: {path.stem}: {len(tags)} tags for {len(words)} words (correct the line)")
    labels = {"iob": " ".join(tags[1:-1]), "intent": tags[-1], "split": split}
    speaker = path.stem.split("-")[0]
    return Clip(
        path.stem,
        str(path),
        speaker=speaker,
        language="en",
        text=" ".join(words) or None,
        labels=labels,
        source="snips",
    )
