"""From frame posteriors to labels and words: the likeliest path, the likeliest labelling, and their times.

Arrays are natural logarithms of CTC posteriors, `time labels`, label 0 being the blank.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from sonorant.asr.vocabulary import BLANK, SPACE, Vocabulary

Scorer = Callable[[tuple[int, ...]], Float[ndarray, " labels"]]
"""What a language model adds to the log probability of each next label, given the labels so far."""


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

    It lasts from the first frame that shows one of its characters to the last one. Confidence is the
    geometric mean of its characters' posteriors: 1 is certain.
    """

    text: str
    start: float
    end: float
    confidence: float


def greedy(log_probabilities: Float[ndarray, "time labels"]) -> list[Token]:
    """The labelling of the likeliest path: the best label of each frame, repeats and blanks dropped."""
    return _runs(log_probabilities, log_probabilities.argmax(1))


def beam(
    log_probabilities: Float[ndarray, "time labels"],
    *,
    width: int = 16,
    candidates: int = 16,
    scorer: Scorer | None = None,
) -> list[Token]:
    """The labelling that `prefix_beam_search` finds, on the frames of its likeliest path."""
    labels, _ = prefix_beam_search(log_probabilities, width=width, candidates=candidates, scorer=scorer)
    return forced_alignment(log_probabilities, labels)


def forced_alignment(log_probabilities: Float[ndarray, "time labels"], labels: Sequence[int]) -> list[Token]:
    """The labels on the frames of their likeliest path (Viterbi). ValueError: they need more frames."""
    frames = len(log_probabilities)
    states = np.zeros(2 * len(labels) + 1, dtype=np.int64)
    states[1::2] = labels
    needed = len(labels) + int((states[3::2] == states[1:-2:2]).sum()) if len(labels) else 0
    if needed > frames:
        raise ValueError(f"{len(labels)} labels need {needed} frames, but there are {frames}")
    if not frames:
        return []
    skippable = np.zeros(len(states), dtype=bool)
    skippable[3::2] = states[3::2] != states[1:-2:2]
    scores = np.full(len(states), -np.inf)
    scores[:2] = log_probabilities[0, states[:2]]
    moves = np.zeros((frames, len(states)), dtype=np.int8)  # states advanced to reach each one
    for frame in range(1, frames):
        one = np.concatenate([[-np.inf], scores[:-1]])
        two = np.where(skippable, np.concatenate([[-np.inf, -np.inf], scores[:-2]])[: len(states)], -np.inf)
        choices = np.stack([scores, one, two])
        moves[frame] = choices.argmax(0)
        scores = choices.max(0) + log_probabilities[frame, states]
    state = len(states) - 1 if len(states) == 1 or scores[-1] >= scores[-2] else len(states) - 2
    path = np.zeros(frames, dtype=np.int64)
    for frame in range(frames - 1, -1, -1):
        path[frame] = states[state]
        state -= int(moves[frame, state])
    return _runs(log_probabilities, path)


def _runs(log_probabilities: Float[ndarray, "time labels"], path: Int[ndarray, " time"]) -> list[Token]:
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


def words(tokens: Iterable[Token], vocabulary: Vocabulary, seconds_per_frame: float) -> Iterator[Word]:
    """The words that the spaces among the tokens separate, each as soon as it has ended."""
    characters: list[Token] = []
    for token in tokens:
        if token.label != SPACE:
            characters.append(token)
        elif characters:
            yield _word(characters, vocabulary, seconds_per_frame)
            characters = []
    if characters:
        yield _word(characters, vocabulary, seconds_per_frame)


def _word(characters: Sequence[Token], vocabulary: Vocabulary, seconds_per_frame: float) -> Word:
    confidences = np.array([token.confidence for token in characters])
    return Word(
        text=vocabulary.decode([token.label for token in characters]),
        start=characters[0].start * seconds_per_frame,
        end=characters[-1].end * seconds_per_frame,
        confidence=float(np.exp(np.log(confidences.clip(min=1e-10)).mean())),
    )


@dataclass
class _Prefixes:
    """Every prefix that was in the beam, as a tree, so that one dropped and found again keeps its number."""

    parents: list[int] = field(default_factory=lambda: [-1])
    lasts: list[int] = field(default_factory=lambda: [-1])
    children: dict[tuple[int, int], int] = field(default_factory=dict)

    def child(self, parent: int, label: int) -> int:
        number = self.children.setdefault((parent, label), len(self.parents))
        if number == len(self.parents):
            self.parents.append(parent)
            self.lasts.append(label)
        return number

    def labels(self, prefix: int) -> tuple[int, ...]:
        labels: list[int] = []
        while prefix:
            labels.append(self.lasts[prefix])
            prefix = self.parents[prefix]
        return tuple(reversed(labels))


def prefix_beam_search(
    log_probabilities: Float[ndarray, "time labels"],
    *,
    width: int = 16,
    candidates: int = 16,
    scorer: Scorer | None = None,
) -> tuple[tuple[int, ...], float]:
    """The likeliest labelling that keeping `width` prefixes finds, and its log probability with the scorer's.

    The probabilities of all paths of a prefix are summed (Hannun et al., "First-Pass Large Vocabulary
    Continuous Speech Recognition using Bi-Directional Recurrent DNNs", 2014, https://arxiv.org/abs/1408.2873,
    algorithm 1). At each frame a prefix grows only by one of the `candidates` likeliest labels. With enough
    of both, the search is exact.
    """
    tree = _Prefixes()
    weights: dict[int, Float[ndarray, " labels"]] = {}
    prefixes = np.zeros(1, dtype=np.int64)
    blank, label = np.zeros(1), np.full(1, -np.inf)  # log probability of the paths that end in either
    for frame in log_probabilities.astype(np.float64):
        if scorer is not None:
            for prefix in prefixes.tolist():
                if prefix not in weights:
                    weights[prefix] = scorer(tree.labels(prefix))
            added = np.stack([weights[prefix] for prefix in prefixes.tolist()])
        else:
            added = None
        prefixes, blank, label = _advance(tree, frame, (prefixes, blank, label), added, width, candidates)
    scores = np.logaddexp(blank, label)
    best = int(scores.argmax())
    return tree.labels(int(prefixes[best])), float(scores[best])


def _advance(
    tree: _Prefixes,
    frame: Float[ndarray, " labels"],
    state: tuple[ndarray, ndarray, ndarray],
    added: Float[ndarray, "prefixes labels"] | None,
    width: int,
    candidates: int,
) -> tuple[ndarray, ndarray, ndarray]:
    """The best prefixes after one more frame, and their paths' log probabilities, by blank and by label."""
    prefixes, blank, label = state
    lasts = np.array([tree.lasts[prefix] for prefix in prefixes])
    parents = np.array([tree.parents[prefix] for prefix in prefixes])
    either = np.logaddexp(blank, label)
    kept_blank, kept_label = either + frame[BLANK], label + frame[lasts]
    choices = 1 + (
        frame[1:].argpartition(-candidates)[-candidates:]
        if candidates < len(frame) - 1
        else np.arange(len(frame) - 1)
    )
    # The label that a prefix ends in counts anew only behind a blank.
    grown = np.where(lasts[:, None] == choices, blank[:, None], either[:, None]) + frame[choices]
    if added is not None:
        grown += added[:, choices]
    # A prefix that grows into another one of the beam adds to that one's paths.
    child, parent = np.nonzero(parents[:, None] == prefixes)
    if len(child):
        gained = np.where(lasts[child] == lasts[parent], blank[parent], either[parent]) + frame[lasts[child]]
        if added is not None:
            gained += added[parent, lasts[child]]
        kept_label[child] = np.logaddexp(kept_label[child], gained)
        pair, column = np.nonzero(lasts[child][:, None] == choices)
        grown[parent[pair], column] = -np.inf
    scores = np.concatenate([np.logaddexp(kept_blank, kept_label), grown.ravel()])
    best = scores.argpartition(-width)[-width:] if width < len(scores) else np.arange(len(scores))
    best = best[scores[best] > -np.inf]
    stayed, new = best[best < len(prefixes)], best[best >= len(prefixes)] - len(prefixes)
    row, column = np.divmod(new, len(choices))
    pairs = zip(prefixes[row].tolist(), choices[column].tolist(), strict=True)
    return (
        np.append(prefixes[stayed], np.array([tree.child(*pair) for pair in pairs], dtype=np.int64)),
        np.append(kept_blank[stayed], np.full(len(new), -np.inf)),
        np.append(kept_label[stayed], grown[row, column]),
    )
