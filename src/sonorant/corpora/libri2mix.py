"""The layout of LibriMix with two speakers: PART/mix_clean or mix_both, PART/s1 and PART/s2 beside it.

LibriSpeech's utterances, mixed; J. Cosentino et al., 2020, https://arxiv.org/abs/2005.11262, CC BY 4.0. A
file is called FIRST_SECOND.wav by the utterances in it. `units` tell who speaks when, by the energy of s1
and s2. The label `mixture` says so, `split` is of the part: train-..., dev, test.
"""

from collections.abc import Iterator
from pathlib import Path

from sonorant.data.audio import load
from sonorant.data.entries import Entry, Skipped, audio_files
from sonorant.data.manifest import Clip
from sonorant.data.overlap import RATE, spoken

LICENCE = "CC BY 4.0"

MIXES = ("mix_both", "mix_clean")
SOURCES = ("s1", "s2")


def matches(folder: Path) -> bool:
    """Whether a part with mixtures and their sources is there."""
    return folder.is_dir() and bool(_parts(folder))


def read(folder: Path, out: Path) -> Iterator[Entry | Skipped]:
    """An entry for each mixture, the noisy one if there are both."""
    for part in _parts(folder):
        mix = next(part / name for name in MIXES if (part / name).is_dir())
        split = next((name for name in ("train", "dev", "test") if part.name.startswith(name)), "train")
        for path in audio_files(mix):
            sources = [part / side / path.name for side in SOURCES]
            if missing := [source for source in sources if not source.is_file()]:
                yield Skipped(str(path), f"{path}: no {missing[0]}")
                continue
            yield Entry(_clip(path, sources, f"{part.name}/{path.stem}", split))


def _clip(path: Path, sources: list[Path], name: str, split: str) -> Clip:
    units = []
    for utterance, source in zip(path.stem.split("_"), sources, strict=False):
        clip = Clip(utterance, str(source))
        stretches = spoken(clip, load(clip, RATE), lambda _: False)
        units += [(utterance.split("-")[0], start, end) for start, end in stretches]
    labels = {"mixture": "2", "split": split}
    return Clip(name, str(path), language="en", units=units, labels=labels, source="libri2mix")


def _parts(folder: Path) -> list[Path]:
    """The folders of parts: below wav16k/max, say, or right here."""
    found = {
        mix.parent
        for name in MIXES
        for depth in ("*/", "*/*/*/", "*/*/*/*/")
        for mix in folder.glob(depth + name)
    }
    return sorted(part for part in found if all((part / side).is_dir() for side in SOURCES))
