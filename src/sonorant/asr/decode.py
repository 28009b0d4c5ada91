"""From frame posteriors to labels and words: the likeliest path, a labelling's path, and their times.

Arrays are natural logarithms of CTC posteriors, `time labels`, label 0 being the blank.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from sonorant.asr.trellis import best_path
from sonorant.asr.vocabulary import BLANK, Spelling


@dataclass(frozen=True)
class Token:
    """A label on the frames `start` to `end` (exclusive); confidence is its mean posterior there."""

    label: int
    start: int
    end: int
    confidence: float


@dataclass(frozen=True)
class Word:
    """A word, in seconds from the start of the audio.

    It lasts from the first frame that shows one of its labels to the last one. Confidence is the geometric
    mean of its labels' own: 1 is certain.
    """

    text: str
    start: float
    end: float
    confidence: float
    characters: tuple[float, ...] = field(default=(), compare=False)  # the confidence of each


def greedy(log_probabilities: Float[ndarray, "time labels"]) -> list[Token]:
    """The labelling of the likeliest path: the best label of each frame, repeats and blanks dropped."""
    return runs(log_probabilities, log_probabilities.argmax(1))


def forced_alignment(log_probabilities: Float[ndarray, "time labels"], labels: Sequence[int]) -> list[Token]:
    """The labels on the frames of their likeliest path (Viterbi). ValueError: they need more frames."""
    return runs(log_probabilities, best_path(log_probabilities, labels))


def runs(log_probabilities: Float[ndarray, "time labels"], path: Int[ndarray, " time"]) -> list[Token]:
    """A path's runs of one label, without the blank's."""
    if not len(path):
        return []
    starts = np.flatnonzero(np.concatenate([[True], path[1:] != path[:-1]]))
    ends = np.append(starts[1:], len(path))
    posteriors = np.exp(log_probabilities[np.arange(len(path)), path].astype(np.float64))
    means = np.add.reduceat(posteriors, starts) / (ends - starts)
    return [
        Token(int(path[start]), int(start), int(end), float(mean))
        for start, end, mean in zip(starts, ends, means, strict=True)
        if path[start] != BLANK
    ]


def words(tokens: Iterable[Token], vocabulary: Spelling, seconds_per_frame: float) -> Iterator[Word]:
    """The words that the spaces in what the tokens write separate, each as soon as it has ended."""
    written: list[Token] = []
    for token in tokens:
        piece = vocabulary.piece(token.label)
        if piece.startswith(" ") and written:
            yield _word(written, vocabulary, seconds_per_frame)
            written = []
        if piece != " ":
            written.append(token)
    if written:
        yield _word(written, vocabulary, seconds_per_frame)


def _word(tokens: Sequence[Token], vocabulary: Spelling, seconds_per_frame: float) -> Word:
    confidences = np.array([token.confidence for token in tokens])
    text = vocabulary.decode([token.label for token in tokens])
    mean = float(np.exp(np.log(confidences.clip(min=1e-10)).mean()))
    pieces = [(vocabulary.piece(token.label).strip(), token.confidence) for token in tokens]
    characters = tuple(confidence for piece, confidence in pieces for _ in piece)
    return Word(
        text=text,
        start=tokens[0].start * seconds_per_frame,
        end=tokens[-1].end * seconds_per_frame,
        confidence=mean,
        characters=characters if len(characters) == len(text) else (mean,) * len(text),
    )
