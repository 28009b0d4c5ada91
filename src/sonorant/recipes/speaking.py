"""A text, a sentence a line, made into a folder of speech: audio files and a manifest."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sonorant.config import ConfigError
from sonorant.data.manifest import write
from sonorant.tts import command
from sonorant.tts.engine import opened, speakers
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
    engines = opened(engine, voices) if line is None else [command.engine(line, voices)]
    try:
        with text.open(encoding="utf8") as file:
            lines = list(file)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{text}: not text in UTF-8: {error.reason} (convert it)") from error
    if not any(each.strip() for each in lines):
        raise ConfigError(f"{text}: has no sentences (write one a line)")
    found = speak(lines, speakers(engines), out / "audio", config, progress=progress)
    write(out / MANIFEST, found.clips)
    return found
