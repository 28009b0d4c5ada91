"""eSpeak NG: a hundred languages, one robotic voice with variants. https://github.com/espeak-ng/espeak-ng

A voice is a language, `en-us` or `it`, with a variant behind a plus sign where one is wanted: `en-us+f3`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sonorant.tts.engine import Engine, EngineError, SpeechError
from sonorant.tts.program import ASKED, answer, program, run

VOICES = ("en-us", "en-gb", "en-us+f3", "en-us+m3")
WORDS = 175  # a minute: the program's own speed


@dataclass(frozen=True)
class Espeak:
    path: str
    voices: tuple[str, ...]
    version: str
    name: str = "espeak-ng"
    paced: bool = True

    def speak(self, text: str, *, voice: str, pace: float, out: Path, seconds: float) -> None:
        words = [self.path, "-v", voice, "-s", str(round(WORDS * pace)), "-w", str(out), "--stdin"]
        run(words, text=text, seconds=seconds)


def engine(voices: Sequence[str]) -> Engine:
    path = program("espeak-ng", "apt-get install espeak-ng")
    for voice in voices:
        try:
            run([path, "-v", voice, "-q", "--stdin"], text="a", seconds=ASKED)
        except SpeechError as error:
            raise EngineError(f"{error} ({voice!r}: see espeak-ng --voices)") from error
    version = answer([path, "--version"]).partition("  ")[0]
    return Espeak(path, tuple(voices) or VOICES, version)
