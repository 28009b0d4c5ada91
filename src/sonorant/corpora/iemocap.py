"""The layout of IEMOCAP: Session1 to Session5, sentences/wav/DIALOGUE/UTTERANCE.wav, dialog/EmoEvaluation.

12 hours of ten actors in pairs; C. Busso et al., 2008, https://sail.usc.edu/iemocap. The label `emotion` has
the four classes of SUPERB: neu, hap (with exc), ang, sad; utterances of others have none. `fold` is the
session.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from sonorant.data.entries import Entry, audio_files
from sonorant.data.manifest import Clip

LICENCE = "for research, by agreement with the University of Southern California"

EMOTIONS = {"neu": "neu", "hap": "hap", "exc": "hap", "ang": "ang", "sad": "sad"}
TURN = re.compile(r"\[[\d.]+ - [\d.]+\]\t(\S+)\t(\w+)\t")
SAID = re.compile(r"(\S+) \[[\d.]+-[\d.]+\]: (.*)")


def matches(folder: Path) -> bool:
    """Whether there is a session with its evaluations."""
    return next(folder.glob("Session[1-5]/dialog/EmoEvaluation"), None) is not None


def read(folder: Path, out: Path) -> Iterator[Entry]:
    """An entry for each utterance; the speaker is the session's woman or man."""
    for session in sorted(folder.glob("Session[1-5]")):
        emotions = _found(session / "dialog/EmoEvaluation", TURN)
        texts = _found(session / "dialog/transcriptions", SAID)
        for path in audio_files(session / "sentences"):
            name = path.stem
            labels = {"fold": session.name[-1]}
            if (emotion := EMOTIONS.get(emotions.get(name, ""))) is not None:
                labels["emotion"] = emotion
            clip = Clip(
                name,
                str(path),
                speaker=f"{name[:5]}{name.rpartition('_')[2][:1]}",
                language="en",
                text=texts.get(name) or None,
                labels=labels,
                source="iemocap",
            )
            yield Entry(clip)


def _found(folder: Path, pattern: re.Pattern[str]) -> dict[str, str]:
    """What a line of the folder's files says of each utterance."""
    return {
        match[1]: match[2].strip()
        for file in sorted(folder.glob("*.txt"))
        if not file.name.startswith(".")
        for line in file.read_text(encoding="utf8", errors="replace").splitlines()
        if (match := pattern.match(line))
    }
