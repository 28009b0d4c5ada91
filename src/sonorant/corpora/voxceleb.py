"""The layout of VoxCeleb: audio as SPEAKER/VIDEO/NUMBER.wav, speakers called id1... or id0..., at any depth.

VoxCeleb1 has 153,516 clips of 1251 celebrities; A. Nagrani et al., Interspeech 2017,
https://arxiv.org/abs/1706.08612. iden_split.txt, if it is there, tells the parts for identification.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from sonorant.data.entries import CorpusError, Entry, audio_files
from sonorant.data.manifest import Clip

LICENCE = "CC BY 4.0 (the lists; the videos are their owners')"

SPEAKER = re.compile(r"id[01]\d{4}")
SPLITS = {"1": "train", "2": "validation", "3": "test"}
LIST = "iden_split.txt"


def matches(folder: Path) -> bool:
    """Whether there is a folder of a speaker, in it one of a video, at most two levels down."""
    return folder.is_dir() and any(
        SPEAKER.fullmatch(path.parent.name) and path.is_dir()
        for pattern in ("*/*", "*/*/*", "*/*/*/*")
        for path in folder.glob(pattern)
    )


def read(folder: Path, out: Path) -> Iterator[Entry]:
    """An entry for each clip; its id is SPEAKER/VIDEO/NUMBER."""
    splits = _splits(folder / LIST)
    for path in audio_files(folder):
        speaker = path.parent.parent.name
        if not SPEAKER.fullmatch(speaker):
            continue
        name = f"{speaker}/{path.parent.name}/{path.stem}"
        labels = {"split": splits[name]} if name in splits else None
        yield Entry(Clip(name, str(path), speaker=speaker, labels=labels, source="voxceleb"))


def _splits(file: Path) -> dict[str, str]:
    splits: dict[str, str] = {}
    for number, line in enumerate(file.read_text(encoding="utf8").splitlines() if file.exists() else (), 1):
        part, _, name = line.strip().partition(" ")
        if part and part not in SPLITS:
            raise CorpusError(f"{file}:{number}: {line!r}: expected `1 SPEAKER/VIDEO/NUMBER.wav`, 1 to 3")
        if part:
            splits[Path(name.strip()).with_suffix("").as_posix()] = SPLITS[part]
    return splits
