"""Transcripts of files and of manifests, as text, subtitles or JSON."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from sonorant.asr import subtitles
from sonorant.asr.transcribe import Recogniser, TranscribeConfig, Transcript, transcribe
from sonorant.config import ConfigError
from sonorant.data.manifest import read
from sonorant.evaluate.wer import character_error_rate, word_error_rate
from sonorant.recipes.recognise import Hypothesis, load_recogniser, recognise

FORMS = {
    "text": (".txt", subtitles.text),
    "srt": (".srt", subtitles.srt),
    "json": (".json", subtitles.to_json),
}


def transcribe_all(
    run: Path, audio: Sequence[Path], *, form: str, width: int | None
) -> Iterator[tuple[str, str]]:
    """A file name and its content for each audio file or manifest, as soon as it is transcribed.

    ConfigError: the form is unknown. AudioError: a file cannot be read.
    """
    if form not in FORMS:
        raise ConfigError(f"format: {form!r} is not one of {', '.join(FORMS)}")
    recogniser = load_recogniser(run)
    suffix, write = FORMS[form]
    for path in audio:
        if path.suffix == ".jsonl":
            yield f"{path.stem}-hypotheses.jsonl", _manifest(path, recogniser, width)
        else:
            found: Transcript = transcribe(path, recogniser, TranscribeConfig(beam=width))
            yield path.stem + suffix, write(found)


def _manifest(path: Path, recogniser: Recogniser, width: int | None) -> str:
    hypotheses, factor = recognise(read(path), recogniser, width=width)
    _tell(hypotheses, factor)
    return "".join(msgspec.json.encode(each.row()).decode() + "\n" for each in hypotheses)


def _tell(hypotheses: Sequence[Hypothesis], factor: float) -> None:
    """The error rates of the clips that have a text, on the standard error."""
    pairs = [(each.reference, each.hypothesis) for each in hypotheses if each.reference]
    told = f"real-time factor {factor:.4f}"
    if pairs:
        characters, words = character_error_rate(pairs), word_error_rate(pairs)
        told += f", CER {characters.rate:.1%}, WER {words.rate:.1%} over {len(pairs)} clips with a text"
    print(told, file=sys.stderr)
