"""Where the words of a known text are said, by a recogniser's CTC posteriors, and how well the text fits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from sonorant.asr.decode import Token, Word, runs, words
from sonorant.asr.trellis import best_path
from sonorant.asr.vocabulary import Spelling, VocabularyError


@dataclass(frozen=True)
class Fit:
    """The words and, in `pieces`, what each label writes (characters or subwords), in their order.

    `score` is how much likelier each label is made, in nats, when the text is given up for whatever the
    recogniser hears best: 0 where that is the text itself, and the lower the less the text fits.
    """

    words: tuple[Word, ...]
    pieces: tuple[Word, ...]
    score: float


def fit(
    log_probabilities: Float[ndarray, "time labels"],
    labels: Sequence[int],
    vocabulary: Spelling,
    seconds_per_frame: float,
) -> Fit:
    """At least one label on the frames of their likeliest path. ValueError: they need more frames."""
    path = best_path(log_probabilities, labels)
    forced = log_probabilities[np.arange(len(path)), path].sum(dtype=np.float64)
    heard = log_probabilities.max(1).sum(dtype=np.float64)
    tokens = runs(log_probabilities, path)
    return Fit(
        words=tuple(words(tokens, vocabulary, seconds_per_frame)),
        pieces=tuple(_pieces(tokens, vocabulary, seconds_per_frame)),
        score=float(forced - heard) / len(labels),
    )


def _pieces(tokens: Sequence[Token], vocabulary: Spelling, seconds_per_frame: float) -> Iterator[Word]:
    for token in tokens:
        if text := vocabulary.piece(token.label).strip():
            start, end = token.start * seconds_per_frame, token.end * seconds_per_frame
            yield Word(text, start, end, token.confidence)


def unspelled(text: str, vocabulary: Spelling) -> list[tuple[str, int]]:
    """The words that the vocabulary has not all labels for, and the lines where they stand first, from 1."""
    found: dict[str, int] = {}
    known: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        for word in line.split():
            if word in known or word in found:
                continue
            try:
                vocabulary.encode(word)
                known.add(word)
            except VocabularyError:
                found[word] = number
    return list(found.items())
