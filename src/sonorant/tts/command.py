"""Any program that writes an audio file: `mytts --out {out} --text {text}`.

The words of the command line are parted as a shell parts them, and no shell sees them. `{out}` is a .wav
file to be written, `{text}` the sentence, which otherwise comes on the standard input, `{pace}` the speed (1
is the voice's own), `{voice}` one of the voices.
"""

import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sonorant.tts.engine import Engine, EngineError
from sonorant.tts.program import fingerprint, run

PLACES = re.compile(r"\{(out|text|pace|voice)\}")


@dataclass(frozen=True)
class Command:
    words: tuple[str, ...]
    name: str
    voices: tuple[str, ...]
    version: str
    paced: bool

    def speak(self, text: str, *, voice: str, pace: float, out: Path, seconds: float) -> None:
        values = {"out": str(out), "text": text, "voice": voice, "pace": f"{pace:g}"}
        words = [PLACES.sub(lambda place: values[place[1]], word) for word in self.words]
        run(words, text="" if "{text}" in " ".join(self.words) else text, seconds=seconds)


def engine(line: str, voices: Sequence[str]) -> Engine:
    """The engine that a command line describes. EngineError: it is none, or its program is missing."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise EngineError(f"command: {line!r}: {error} (check its quotes)") from error
    if "{out}" not in line or not words:
        raise EngineError(f"command: {line!r} has no {{out}} (write it where the audio file's name belongs)")
    if bool(voices) != ("{voice}" in line):
        raise EngineError(f"command: {line!r} and --voices: give both {{voice}} and voices, or neither")
    if (path := shutil.which(words[0])) is None:
        raise EngineError(f"command: {words[0]}: no such program (check its name, or give its path)")
    everything, paced = (path, *words[1:]), "{pace}" in line
    return Command(everything, Path(path).name, tuple(voices) or ("",), fingerprint(everything), paced)
