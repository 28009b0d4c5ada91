"""Prefix beam search: the likeliest labelling of frame posteriors, alone or with a language model.

Arrays are natural logarithms of CTC posteriors, `time labels`, label 0 being the blank.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from sonorant.asr.decode import Token, forced_alignment
from sonorant.asr.vocabulary import BLANK

SURE = math.log(0.999)  # a blank that likely ends whatever came before; nothing grows there


class Scorer(Protocol):
    """What a language model adds to log probabilities, label by label; a state tells what came before."""

    @property
    def start(self) -> Any: ...

    def ready(self, states: Sequence[Any]) -> None: ...  # these will be asked: what computes may do it in one

    def added(self, state: Any) -> Float[ndarray, " labels"]: ...  # to the log probability of each next label

    def step(self, state: Any, label: int) -> Any: ...  # the state behind one more label

    def end(self, state: Any) -> float: ...  # added where the utterance ends


class Found(NamedTuple):
    labels: tuple[int, ...]
    score: float  # log probability, with what the scorer adds
    state: Any  # the scorer's, behind the labels


@dataclass(frozen=True)
class Beam:
    """A search: how many prefixes it keeps, and how many labels each may grow by at a frame."""

    width: int = 16
    candidates: int = 16  # the likeliest labels of the frame
    threshold: float = 20.0  # a prefix is dropped that is e^threshold times less likely than the best one
    scorer: Scorer | None = None

    def tokens(self, pieces: Iterable[Float[ndarray, "_time labels"]]) -> Iterator[Token]:
        """The tokens of consecutive pieces of one recording, with what the scorer knows carried along.

        Those of a piece come when it is known whether it is the last one.
        """
        offset = 0
        state = None if self.scorer is None else self.scorer.start
        for frames, following in pairwise(chain(pieces, [None])):
            assert frames is not None
            found = self.search(frames, state=state, final=following is None)
            state = found.state
            for token in forced_alignment(frames, found.labels):
                yield replace(token, start=token.start + offset, end=token.end + offset)
            offset += len(frames)

    def search(
        self, log_probabilities: Float[ndarray, "time labels"], *, state: Any = None, final: bool = True
    ) -> Found:
        """The likeliest labelling that keeping `width` prefixes finds.

        The probabilities of all paths of a prefix are summed (Hannun et al., "First-Pass Large Vocabulary
        Continuous Speech Recognition using Bi-Directional Recurrent DNNs", 2014,
        https://arxiv.org/abs/1408.2873, algorithm 1). With enough of everything the search is exact, but for
        frames whose blank has a posterior of more than 0.999: all paths go through it.

        `state`: the scorer's; None: its start. `final`: here the utterance ends.
        """
        search = self.begin(state)
        search.feed(log_probabilities)
        return search.found(final=final)

    def begin(self, state: Any = None) -> "Search":
        """A search that is fed frames as they come; `state` as for `search`."""
        scorer = self.scorer
        first = scorer.start if scorer is not None and state is None else state
        return Search(self, _Prefixes(scorer, first))


def beam(log_probabilities: Float[ndarray, "time labels"], *, width: int = 16) -> list[Token]:
    """The likeliest labelling without a scorer, on the frames of its likeliest path."""
    return list(Beam(width=width).tokens([log_probabilities]))


@dataclass
class _Prefixes:
    """Every prefix that was in the beam, as a tree, so that one dropped and found again keeps its number."""

    scorer: Scorer | None
    first: Any  # the scorer's state before any label
    parents: list[int] = field(default_factory=lambda: [-1])
    lasts: list[int] = field(default_factory=lambda: [-1])
    children: dict[tuple[int, int], int] = field(default_factory=dict)
    weights: dict[int, Float[ndarray, " labels"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.states = [self.first]

    def child(self, parent: int, label: int) -> int:
        number = self.children.setdefault((parent, label), len(self.parents))
        if number == len(self.parents):
            self.parents.append(parent)
            self.lasts.append(label)
            before = self.states[parent]
            self.states.append(before if self.scorer is None else self.scorer.step(before, label))
        return number

    def labels(self, prefix: int) -> tuple[int, ...]:
        labels: list[int] = []
        while prefix:
            labels.append(self.lasts[prefix])
            prefix = self.parents[prefix]
        return tuple(reversed(labels))

    def added(self, prefixes: list[int]) -> Float[ndarray, "prefixes labels"] | None:
        """What the scorer adds to each next label of each prefix."""
        if self.scorer is None:
            return None
        new = [prefix for prefix in prefixes if prefix not in self.weights]
        self.scorer.ready([self.states[prefix] for prefix in new])
        for prefix in new:
            self.weights[prefix] = self.scorer.added(self.states[prefix])
        return np.stack([self.weights[prefix] for prefix in prefixes])


@dataclass
class Search:
    """The prefixes that are kept, and the log probabilities of their paths that end in blank or label."""

    beam: Beam
    tree: _Prefixes
    prefixes: ndarray = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    blank: ndarray = field(default_factory=lambda: np.zeros(1))
    label: ndarray = field(default_factory=lambda: np.full(1, -np.inf))

    def feed(self, log_probabilities: Float[ndarray, "time labels"]) -> None:
        for frame in log_probabilities.astype(np.float64):
            if frame[BLANK] > SURE:
                self.blank = np.logaddexp(self.blank, self.label) + frame[BLANK]
                self.label = np.full(len(self.label), -np.inf)
            else:
                state = self.prefixes, self.blank, self.label
                self.prefixes, self.blank, self.label = _advance(self.tree, frame, state, self.beam)

    def found(self, *, final: bool) -> Found:
        """The best labelling so far; `final`: here the utterance ends."""
        scorer, states = self.beam.scorer, self.tree.states
        scores = np.logaddexp(self.blank, self.label)
        if scorer is not None and final:
            reached = [states[prefix] for prefix in self.prefixes.tolist()]
            scorer.ready(reached)
            scores = scores + np.array([scorer.end(state) for state in reached])
        best = int(scores.argmax())
        prefix = int(self.prefixes[best])
        return Found(self.tree.labels(prefix), float(scores[best]), states[prefix])

    def settled(self) -> tuple[int, ...]:
        """The labels that all kept prefixes begin with: no frame that comes can change them."""
        kept = [self.tree.labels(prefix) for prefix in self.prefixes.tolist()]
        shortest, longest = min(kept), max(kept)  # in the order of dictionaries the others lie between them
        same = zip(shortest, longest, strict=False)
        return shortest[
            : next((place for place, (one, other) in enumerate(same) if one != other), len(shortest))
        ]


def _advance(
    tree: _Prefixes,
    frame: Float[ndarray, " labels"],
    state: tuple[ndarray, ndarray, ndarray],
    search: Beam,
) -> tuple[ndarray, ndarray, ndarray]:
    """The best prefixes after one more frame, and their paths' log probabilities, by blank and by label."""
    prefixes, blank, label = state
    added = tree.added(prefixes.tolist())
    lasts = np.array([tree.lasts[prefix] for prefix in prefixes])
    parents = np.array([tree.parents[prefix] for prefix in prefixes])
    either = np.logaddexp(blank, label)
    kept_blank, kept_label = either + frame[BLANK], label + frame[lasts]
    choices = 1 + (
        frame[1:].argpartition(-search.candidates)[-search.candidates :]
        if search.candidates < len(frame) - 1
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
    width = min(search.width, len(scores))
    best = scores.argpartition(-width)[-width:]
    best = best[scores[best] > max(scores.max() - search.threshold, np.finfo(np.float64).min)]
    stayed, new = best[best < len(prefixes)], best[best >= len(prefixes)] - len(prefixes)
    row, column = np.divmod(new, len(choices))
    pairs = zip(prefixes[row].tolist(), choices[column].tolist(), strict=True)
    return (
        np.append(prefixes[stayed], np.array([tree.child(*pair) for pair in pairs], dtype=np.int64)),
        np.append(kept_blank[stayed], np.full(len(new), -np.inf)),
        np.append(kept_label[stayed], grown[row, column]),
    )
