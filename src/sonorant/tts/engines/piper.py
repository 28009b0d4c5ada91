"""Piper: neural voices, each a file of its own. https://github.com/OHF-Voice/piper1-gpl

It is under the GPL: it is run as a program and never imported. A voice is the path of its `.onnx` file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sonorant.tts.engine import Engine, EngineError
from sonorant.tts.program import fingerprint, program, run


@dataclass(frozen=True)
class Piper:
    path: str
    voices: tuple[str, ...]  # names of files, without what stands behind the last dot
    version: str
    files: dict[str, str] = field(repr=False)
    name: str = "piper"
    paced: bool = True

    def speak(self, text: str, *, voice: str, pace: float, out: Path, seconds: float) -> None:
        words = [self.path, "--model", self.files[voice], "--output_file", str(out)]
        run([*words, "--length_scale", f"{1 / pace:.6g}"], text=f"{text}\n", seconds=seconds)


def engine(voices: Sequence[str]) -> Engine:
    path = program("piper", "pip install piper-tts")
    if not voices:
        raise EngineError("piper: brings no voice (give files: --voices en_US-joe-medium.onnx)")
    for voice in voices:
        if not Path(voice).is_file():
            raise EngineError(f"piper: {voice}: there is no such voice file (fetch it, or correct the path)")
    files = {Path(voice).stem: voice for voice in voices}
    return Piper(path, tuple(files), fingerprint(list(files.values())), files)
