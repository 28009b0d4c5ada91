"""The test fixtures as a corpus with the parts that the Queen has, for runs of seconds."""

from pathlib import Path

import msgspec

from sonorant.data.manifest import Clip, read, write

SPEECH = Path(__file__).parents[2] / "tests" / "fixtures" / "speech"


def small_corpus(folder: Path) -> Path:
    """Letters, spread evenly, stand for phones: figures mean nothing, but all of them come about."""
    clips = read(SPEECH / "manifest.jsonl")
    train, held_out = list(clips)[::2], list(clips)[1::2]
    parts = {
        "all": clips,
        "untranscribed": train,
        "paired-10m": train,
        "paired-1h": train,
        "dev": held_out,
        "test": held_out,
        "paired-1h-phones": [spelled(clip) for clip in train],
        "test-phones": [spelled(clip) for clip in held_out],
    }
    folder.mkdir(parents=True)
    for name, part in parts.items():
        write(folder / f"{name}.jsonl", part)
    texts = "".join(f"{clip.text}\n" for clip in train)
    (folder / "unpaired-text.txt").write_text(texts, encoding="utf8")
    return folder


def spelled(clip: Clip) -> Clip:
    """The clip with its letters as units, evenly spread."""
    letters = [letter for letter in (clip.text or "").lower() if letter.isalpha()]
    step = clip.seconds / max(1, len(letters))
    units = [(letter, place * step, (place + 1) * step) for place, letter in enumerate(letters)]
    return msgspec.structs.replace(clip, units=units)
