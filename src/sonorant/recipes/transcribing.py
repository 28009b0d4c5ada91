"""Transcripts of files, folders and manifests, as text, subtitles, JSON or CTM."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sonorant.asr import subtitles
from sonorant.asr.beam import Scorer
from sonorant.asr.transcribe import Recogniser, TranscribeConfig, Transcript, transcribe
from sonorant.config import ConfigError
from sonorant.data.audio import AudioError
from sonorant.data.manifest import ManifestError, read
from sonorant.evaluate.wer import character_error_rate, word_error_rate
from sonorant.recipes.language import BEAM, Language
from sonorant.recipes.recognise import Hypothesis, load_recogniser, recognise
from sonorant.recipes.sources import sources

Write = Callable[[Transcript, str], str]  # what a file has, of a transcript and the recording's name

FORMS: Mapping[str, tuple[str, Write]] = {
    "text": (".txt", lambda found, _: subtitles.text(found)),
    "srt": (".srt", lambda found, _: subtitles.srt(found)),
    "vtt": (".vtt", lambda found, _: subtitles.vtt(found)),
    "json": (".json", lambda found, _: subtitles.to_json(found)),
    "ctm": (".ctm", lambda found, name: subtitles.ctm(found.words, name)),
}


@dataclass(frozen=True)
class Written:
    """What became of an audio file or a manifest."""

    path: Path
    name: Path  # the file that has its transcript
    content: str | None  # None: it could not be read
    reason: str = ""  # why


def transcribe_all(
    run: Path,
    audio: Sequence[Path],
    *,
    form: str,
    width: int | None,
    precision: str = "auto",
    language: Language | None = None,
    ctc_weight: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Written]:
    """The transcript of each audio file, in folders too, and of each manifest, as soon as there is one.

    A beam has `BEAM` prefixes where a language wants one and no width is given.

    ConfigError: the form is unknown, or two files would get the same name. AudioError, ManifestError: the
    only one cannot be read.
    """
    if form not in FORMS:
        raise ConfigError(f"format: {form!r} is not one of {', '.join(FORMS)}")
    suffix, write = FORMS[form]
    found = sources(audio)
    recogniser = load_recogniser(run, precision=precision, ctc_weight=ctc_weight)
    scorer = None if language is None else language.scorer(recogniser.vocabulary)
    if scorer is not None:
        width = width or BEAM
    for done, source in enumerate(found):
        if progress is not None:
            progress(done, len(found))
        ending = "-hypotheses.jsonl" if source.is_manifest else suffix
        name = source.name.with_name(source.name.name + ending)
        try:
            if source.is_manifest:
                content = _manifest(source.path, recogniser, width, scorer)
            else:
                heard = transcribe(source.path, recogniser, TranscribeConfig(beam=width), scorer=scorer)
                content = write(heard, source.name.as_posix())
        except (AudioError, ManifestError) as error:
            if len(found) == 1:
                raise
            yield Written(source.path, name, None, str(error))
            continue
        yield Written(source.path, name, content)
    if progress is not None:
        progress(len(found), len(found))


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
