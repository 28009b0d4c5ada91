"""Transcripts of files and of manifests, as text, subtitles or JSON."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from sonorant.asr import subtitles
from sonorant.asr.beam import Scorer
from sonorant.asr.transcribe import Recogniser, TranscribeConfig, Transcript, transcribe
from sonorant.config import ConfigError
from sonorant.data.manifest import read
from sonorant.evaluate.wer import character_error_rate, word_error_rate
from sonorant.recipes.language import BEAM, Language
from sonorant.recipes.recognise import Hypothesis, load_recogniser, recognise

FORMS = {
    "text": (".txt", subtitles.text),
    "srt": (".srt", subtitles.srt),
    "json": (".json", subtitles.to_json),
}


def transcribe_all(
    run: Path,
    audio: Sequence[Path],
    *,
    form: str,
    width: int | None,
    precision: str = "auto",
    language: Language | None = None,
    ctc_weight: float | None = None,
) -> Iterator[tuple[str, str]]:
    """A file name and its content for each audio file or manifest, as soon as it is transcribed.

    A beam has `BEAM` prefixes where a language wants one and no width is given.

    ConfigError: the form is unknown, or two files would get the same name. AudioError: a file cannot be read.
    """
    if form not in FORMS:
        raise ConfigError(f"format: {form!r} is not one of {', '.join(FORMS)}")
    suffix, write = FORMS[form]
    names = [path.stem + ("-hypotheses.jsonl" if _is_manifest(path) else suffix) for path in audio]
    if twice := [path for path, name in zip(audio, names, strict=True) if names.count(name) > 1]:
        told = " and ".join(map(str, twice[:2]))
        raise ConfigError(f"{told}: their transcripts would have the same name (transcribe them one by one)")
    recogniser = load_recogniser(run, precision=precision, ctc_weight=ctc_weight)
    scorer = None if language is None else language.scorer(recogniser.vocabulary)
    if scorer is not None:
        width = width or BEAM
    for path, name in zip(audio, names, strict=True):
        if _is_manifest(path):
            yield name, _manifest(path, recogniser, width, scorer)
        else:
            found: Transcript = transcribe(path, recogniser, TranscribeConfig(beam=width), scorer=scorer)
            yield name, write(found)


def _is_manifest(path: Path) -> bool:
    return path.suffix == ".jsonl"


def _manifest(path: Path, recogniser: Recogniser, width: int | None, scorer: Scorer | None) -> str:
    hypotheses, factor = recognise(read(path), recogniser, width=width, scorer=scorer)
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
