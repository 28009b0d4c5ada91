"""The layout of Speech Commands: a folder a word, testing_list.txt and validation_list.txt.

105,829 clips of a second, 35 words, 2618 speakers (version 2); P. Warden, 2018,
https://arxiv.org/abs/1804.03209, CC BY 4.0. The label `keyword` has twelve classes: ten words, `_unknown_`
for the others, and `_silence_`, seconds of the recordings in _background_noise_.
"""

from collections.abc import Iterator
from pathlib import Path

from sonorant.data.audio import inspect
from sonorant.data.entries import Entry, audio_files
from sonorant.data.manifest import Clip

LICENCE = "CC BY 4.0"

WORDS = frozenset({"yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"})
NOISE, UNKNOWN, SILENCE = "_background_noise_", "_unknown_", "_silence_"
LISTS = {"validation_list.txt": "validation", "testing_list.txt": "test"}


def matches(folder: Path) -> bool:
    """Whether both lists are there."""
    return all((folder / name).is_file() for name in LISTS)


def read(folder: Path, out: Path) -> Iterator[Entry]:
    """An entry for each word's clip and for each second of noise; of the noise, the last tenth of each file
    is for the test and the tenth before it for validation."""
    splits = {
        line.strip(): split
        for name, split in LISTS.items()
        for line in (folder / name).read_text(encoding="utf8").splitlines()
    }
    for path in audio_files(folder):
        name = path.relative_to(folder).as_posix()
        word = path.parent.name
        if word == NOISE:
            yield from _silence(name, path)
            continue
        labels = {
            "keyword": word if word in WORDS or word.startswith("_") else UNKNOWN,
            "word": word,
            "split": splits.get(name, "train"),
        }
        speaker = path.stem.partition("_nohash_")[0]
        yield Entry(
            Clip(name, str(path), speaker=speaker, language="en", labels=labels, source="speech_commands")
        )


def _silence(name: str, path: Path) -> Iterator[Entry]:
    samples, rate = inspect(path)
    seconds = samples // rate
    for second in range(seconds):
        place = second / seconds
        split = "test" if place >= 0.9 else "validation" if place >= 0.8 else "train"
        labels = {"keyword": SILENCE, "split": split}
        clip = Clip(f"{name}@{second}", str(path), labels=labels, source="speech_commands")
        yield Entry(clip, float(second), 1.0)
