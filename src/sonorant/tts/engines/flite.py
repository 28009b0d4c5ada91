"""flite: small voices of English, some hundred times faster than speech. https://github.com/festvox/flite"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sonorant.tts.engine import Engine, chosen
from sonorant.tts.program import answer, fingerprint, program, run

VOICES = ("slt", "rms", "awb", "kal16")  # four persons at 16 kHz


@dataclass(frozen=True)
class Flite:
    path: str
    voices: tuple[str, ...]
    version: str
    name: str = "flite"
    paced: bool = True

    def speak(self, text: str, *, voice: str, pace: float, out: Path, seconds: float) -> None:
        stretch = f"duration_stretch={1 / pace:.6g}"
        run([self.path, "-voice", voice, "--setf", stretch, "-t", text, "-o", str(out)], seconds=seconds)


def engine(voices: Sequence[str]) -> Engine:
    path = program("flite", "apt-get install flite")
    # An unknown voice is not refused by flite, which takes another one in silence.
    known = answer([path, "-lv"]).partition(":")[2].split()
    return Flite(path, chosen("flite", voices, known, VOICES), fingerprint([path]))
