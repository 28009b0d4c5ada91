"""Whisper tiny.en on the same clips, for scale: another model, which learned from 680,000 hours of labels.

It runs in an environment of its own, made by `make peers`.
"""

import json
import tempfile
from pathlib import Path

from sonorant.data.manifest import read
from sonorant.data.text import normalize
from turns import installed, set_up, started

WHISPER = "Whisper tiny.en"
ENVIRONMENT = "whisper"


def has_whisper() -> bool:
    return installed(ENVIRONMENT)


def heard(manifest: Path) -> list[tuple[str, str]]:
    """What is said and what it understood. SideError: it cannot be run."""
    with tempfile.TemporaryDirectory() as folder:
        task = {
            "work": "transcripts",
            "size": "tiny.en",
            "precision": "int8",
            "manifest": str(manifest),
            "threads": 1,
            "processes": 1,
            "out": str(Path(folder) / "told.json"),
        }
        with started(WHISPER, task, environment=ENVIRONMENT) as side:
            set_up([side], warm_ups=0)
            side.step()
        return pairs(manifest, Path(task["out"]))


def pairs(manifest: Path, told: Path) -> list[tuple[str, str]]:
    """References beside what was understood of stretches of several clips, both normalised."""
    texts = {clip.id: clip.text or "" for clip in read(manifest)}
    groups = json.loads(told.read_text(encoding="utf8"))
    found = ((" ".join(texts[name] for name in group["ids"]), group["text"]) for group in groups)
    return [(normalize(said), normalize(understood)) for said, understood in found]
