"""A text, a sentence a line, made into a folder of speech: audio files and a manifest."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sonorant.config import ConfigError
from sonorant.data.manifest import write
from sonorant.tts import command
from sonorant.tts.engine import Engine, find, opened, speakers
from sonorant.tts.speak import SpeakConfig, Spoken, speak

MANIFEST = "manifest.jsonl"


def speak_text(
    text: Path,
    out: Path,
    *,
    engine: str,
    voices: Sequence[str],
    line: str | None,
    config: SpeakConfig,
    progress: Callable[[int, int], None],
) -> Spoken:
    """Speak a file's lines into `out/audio` and list them in `out/manifest.jsonl`.

    `line` is a command line that speaks, instead of an engine. EngineError: what is to speak is missing.
    SpeechError: no sentence could be spoken. ConfigError: there is none.
    """
    chosen = opened(engine, voices) if line is None else [command.engine(line, voices)]
    found = speak(lines_of(text), speakers(chosen), out / "audio", config, progress=progress)
    write(out / MANIFEST, found.clips)
    return found


def lines_of(text: Path) -> list[str]:
    """The lines of a file. ConfigError: it is no text, or an empty one."""
    try:
        with text.open(encoding="utf8") as file:
            lines = list(file)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{text}: not text in UTF-8: {error.reason} (convert it)") from error
    if not any(each.strip() for each in lines):
        raise ConfigError(f"{text}: has no sentences (write one a line)")
    return lines


def engines(words: Sequence[str]) -> list[Engine]:
    """Engines by words such as `flite`, `flite:slt,rms`, or a command line that has {out}.

    EngineError: one of them, or one of their voices, is missing.
    """
    lines = [word for word in words if "{out}" in word]
    asked: dict[str, list[str]] = {}
    for word in words:
        if word not in lines:
            name, _, voices = word.partition(":")
            asked.setdefault(name, []).extend(voice for voice in voices.split(",") if voice)
    found = [find(name).engine(voices) for name, voices in asked.items()]
    return found + [command.engine(line, ()) for line in lines]
