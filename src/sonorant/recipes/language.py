"""Language models for a recogniser: estimated from texts, laid over its scores, and weighed on a manifest."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from sonorant.asr.beam import Scorer
from sonorant.asr.fusion import WORD_BREAK, FusionConfig, fusion
from sonorant.asr.transcribe import Recogniser
from sonorant.asr.vocabulary import NORMALISATIONS, Spelling
from sonorant.config import ConfigError
from sonorant.data.manifest import read
from sonorant.evaluate.wer import character_error_rate, word_error_rate
from sonorant.lm import arpa
from sonorant.lm.arpa import TextError
from sonorant.lm.kneser_ney import estimate
from sonorant.lm.model import LanguageModel, load, perplexity
from sonorant.recipes.long import LONG
from sonorant.recipes.recognise import posteriors, said

BEAM = 32  # prefixes that are kept with a language model
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
WORD_BONUSES = (-1.0, 0.0, 1.0, 2.0, 3.0)


@dataclass(frozen=True)
class Language:
    """What is known of what will be said."""

    model: LanguageModel | None
    hot_words: tuple[str, ...]
    config: FusionConfig

    def scorer(self, vocabulary: Spelling) -> Scorer:
        return fusion(vocabulary, self.model, hot_words=self.hot_words, config=self.config)


def language(lm: Path | None, hot_words: str | None, *, weight: float, word_bonus: float) -> Language | None:
    """A model's file and words with commas between them; None where nothing is given.

    Without a model words have no bonus.
    """
    if lm is None and hot_words is None:
        return None
    hot = tuple(word for word in (hot_words or "").split(",") if word.strip())
    config = FusionConfig(weight=weight, word_bonus=0.0 if lm is None else word_bonus)
    return Language(None if lm is None else load(lm), hot, config)


def write_model(
    texts: Sequence[Path], out: Path, *, order: int, characters: bool, test: Path | None, normalisation: str
) -> dict[str, Any]:
    """Estimate a model from texts, write it and tell its size, and its perplexity on another text.

    Texts are files with a sentence a line, and manifests. TextError: they have no words.
    """
    if normalisation not in NORMALISATIONS:
        raise ConfigError(f"normalisation: {normalisation!r} is not one of {', '.join(NORMALISATIONS)}")
    found = (each for path in texts for each in sentences(path, normalisation, characters=characters))
    try:
        grams = estimate(found, order)
    except TextError as error:
        raise TextError(f"{', '.join(map(str, texts))}: {error}") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    arpa.write(out, grams)
    sizes = {f"{length}-grams": len(rows) for length, rows in enumerate(grams.rows, start=1)}
    told: dict[str, Any] = {"out": str(out), **sizes}
    if test is not None:
        try:
            measured = perplexity(load(out), sentences(test, normalisation, characters=characters))
        except TextError as error:
            raise TextError(f"{test}: {error}") from error
        told |= {
            "test words": measured.words,
            "unknown": measured.unknown,
            "perplexity": round(measured.perplexity, 2),
            "perplexity of known words": round(measured.known, 2),
        }
    return told


def sentences(path: Path, normalisation: str, *, characters: bool = False) -> Iterator[list[str]]:
    """The words of each line of a file, or of each text of a manifest; or their characters."""
    normalise = NORMALISATIONS[normalisation]
    for line in _lines(path):
        words = normalise(line).split()
        yield list(WORD_BREAK.join(words)) if characters else words


def _lines(path: Path) -> Iterator[str]:
    if path.suffix == ".jsonl":
        yield from (clip.text for clip in read(path) if clip.text is not None)
        return
    try:
        with path.open(encoding="utf8") as file:
            yield from file
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not text in UTF-8: {error.reason}") from error


class Setting(msgspec.Struct, frozen=True):
    """Error rates with one weight of the language model and one bonus of each word."""

    lm_weight: float
    word_bonus: float
    wer: float
    cer: float


def tune(
    recogniser: Recogniser,
    manifest: Path,
    lm: Path,
    *,
    width: int = BEAM,
    weights: Sequence[float] | None = None,
    word_bonuses: Sequence[float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Setting]:
    """The error rates on a grid, that of `WEIGHTS` and `WORD_BONUSES` unless others are given, the best one
    first: by words, then by characters.

    Clips count that have a text and last a minute at most. ConfigError: there is none.
    """
    vocabulary, model = recogniser.vocabulary, load(lm)
    clips = [clip for clip in read(manifest) if clip.text is not None and clip.seconds <= LONG]
    references = {clip.id: vocabulary.normalise(clip.text or "") for clip in clips}
    frames = {name: rows for found in posteriors(clips, recogniser) for name, rows in found.items()}
    if not any(references[name] for name in frames):
        raise ConfigError(f"{manifest}: no clip of a minute at most has a text to tune on")
    grid = list(product(weights or WEIGHTS, word_bonuses or WORD_BONUSES))
    settings = []
    for done, (weight, bonus) in enumerate(grid, start=1):
        scorer = fusion(vocabulary, model, config=FusionConfig(weight=weight, word_bonus=bonus))
        found = said(list(frames.values()), recogniser, width, scorer)
        pairs = [(references[name], text) for name, text in zip(frames, found, strict=True)]
        words, characters = word_error_rate(pairs).rate, character_error_rate(pairs).rate
        settings.append(Setting(weight, bonus, round(words, 4), round(characters, 4)))
        if progress is not None:
            progress(done, len(grid))
    return sorted(settings, key=lambda each: (each.wer, each.cer))
