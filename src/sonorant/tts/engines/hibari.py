"""hibari: a small neural voice of English in a Python package. https://github.com/MMWilliams/hibari

`heart` comes with the package, which fetches its other voices when they are first asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sonorant.tts.engine import Engine, EngineError, SpeechError, chosen

VOICES = ("heart",)
SEED = 0  # of the noise in its voice


@dataclass(frozen=True)
class Hibari:
    voices: tuple[str, ...]
    version: str
    models: dict[str, Any] = field(repr=False)
    name: str = "hibari"
    paced: bool = True

    def speak(self, text: str, *, voice: str, pace: float, out: Path, seconds: float) -> None:
        """Within this process: nothing ends it that takes too long."""
        try:
            self.models[voice].save(text, str(out), speed=pace, seed=SEED)
        except (RuntimeError, ValueError, LookupError) as error:
            raise SpeechError(f"hibari: {' '.join(str(error).split())}") from error


def engine(voices: Sequence[str]) -> Engine:
    try:
        import hibari
        import onnxruntime  # noqa: F401 (which hibari imports when it is used)
        from hibari.voices import VOICES as KNOWN
    except ImportError as error:
        raise EngineError(
            f"hibari: {error.name} is not installed (pip install 'sonorant[tts]', or take another --engine)"
        ) from error
    names = chosen("hibari", voices, tuple(KNOWN), VOICES)
    try:
        models = {name: hibari.Hibari(voice=name) for name in names}
    except (RuntimeError, OSError) as error:
        raise EngineError(f"{' '.join(str(error).split())} (or take --voices {VOICES[0]})") from error
    for model in models.values():
        _ = model.g2p  # made here, because several threads would each make it
    return Hibari(names, version("hibari-tts"), models)
