"""The contract of a speech synthesis engine, and how engines are found: by the names of their files."""

import pkgutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol, cast

ENGINES = Path(__file__).parent / "engines"


class EngineError(ValueError):
    """An engine or a voice cannot be had on this machine: which one, why, and the way out."""


class SpeechError(ValueError):
    """A sentence that an engine does not speak, and why; or none of many."""


class Engine(Protocol):
    """What speaks. It is used by several threads at once."""

    @property
    def name(self) -> str: ...  # `flite`

    @property
    def voices(self) -> tuple[str, ...]: ...  # those that are asked for, or else some that differ

    @property
    def version(self) -> str: ...  # whatever else changes the sound

    @property
    def paced(self) -> bool: ...  # whether `pace` changes anything

    def speak(self, text: str, *, voice: str, pace: float, out: Path, seconds: float) -> None:
        """Writes the text's audio into `out`, a .wav, at `pace` times the voice's own speed.

        SpeechError: it fails, or takes longer than so many seconds.
        """


class Opens(Protocol):
    """A module of `engines/`."""

    def engine(self, voices: Sequence[str]) -> Engine:
        """The engine with these voices, or with its own choice. EngineError: it or one of them is missing."""


class Speaker(NamedTuple):
    """A voice of an engine."""

    engine: Engine
    voice: str

    @property
    def name(self) -> str:
        return f"{self.engine.name}:{self.voice}" if self.voice else self.engine.name


def names() -> list[str]:
    """The engines that there are, as users write them."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules([str(ENGINES)]))


def opened(engine: str, voices: Sequence[str] = ()) -> list[Engine]:
    """The engines of the voices: each a name of that engine's, or `OTHER-ENGINE:VOICE`.

    EngineError: there is no such engine, or what it needs is missing.
    """
    asked: dict[str, list[str]] = {} if voices else {engine: []}
    for each in voices:
        prefix, colon, voice = each.partition(":")
        named = bool(colon) and prefix in names()
        asked.setdefault(prefix if named else engine, []).append(voice if named else each)
    return [find(name).engine(chosen) for name, chosen in asked.items()]


def speakers(engines: Sequence[Engine]) -> list[Speaker]:
    """All voices, in the order of their names, so that it does not matter how they are asked for."""
    every = [Speaker(engine, voice) for engine in engines for voice in engine.voices]
    return [speaker for _, speaker in sorted({speaker.name: speaker for speaker in every}.items())]


def find(name: str) -> Opens:
    """The engine's module. EngineError names those that there are."""
    if name not in names():
        way = " (give the voice by itself: --voices)" if name.partition(":")[0] in names() else ""
        raise EngineError(f"engine: {name!r} is not one of {', '.join(names())}{way}")
    return cast("Opens", import_module(f"sonorant.tts.engines.{name.replace('-', '_')}"))


def chosen(
    engine: str, voices: Sequence[str], known: Sequence[str], default: Sequence[str]
) -> tuple[str, ...]:
    """The voices that are asked for, or else the default ones. EngineError: one is not known."""
    for voice in voices:
        if voice not in known:
            raise EngineError(f"{engine}: has no voice {voice!r}; there are {', '.join(known)}")
    return tuple(voices) or tuple(voice for voice in default if voice in known) or tuple(known[:1])
