"""Shallow fusion: what a language model and words that are expected add to a recogniser's own scores.

A labelling's score is its CTC log probability plus, for each of its words w behind the words h,

    weight * ln p(w | h) + word_bonus [- unknown_penalty: w is unknown] [+ hot_bonus: w is hot]

and weight * ln p(</s> | h) at the end; with a model of characters the probabilities are those of characters.
Subwords add what their characters add. Inside a word the search already counts on the likeliest word that
starts as it does, and on a share of the bonus of a hot one; what was too much is taken back when the word is
known. So the sum never depends on it.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from msgspec import Meta
from numpy import ndarray

from sonorant.asr.beam import Scorer
from sonorant.asr.subwords import Subwords
from sonorant.asr.vocabulary import BLANK, SPACE, Spelling, Vocabulary, VocabularyError
from sonorant.config import Config
from sonorant.lm.arpa import BEGIN, END, UNKNOWN
from sonorant.lm.model import UNLIKELY, LanguageModel
from sonorant.lm.neural import EDGE, Neural, Said

WORD_BREAK = "\u2581"  # stands for the space in models of characters
LN10 = math.log(10)
OUT = -1  # the node of what starts no word that is known


class FusionConfig(Config, frozen=True, kw_only=True):
    """How much is added to natural logarithms of probabilities."""

    weight: Annotated[float, Meta(ge=0)] = 0.5  # of the language model
    word_bonus: float = 1.0  # for each word, against the model's leaning to few and short ones
    unknown_penalty: Annotated[float, Meta(ge=0)] = 2.0  # for a word that a model of words does not know
    hot_bonus: float = 6.0  # for each word that is hot


def fusion(
    vocabulary: Spelling,
    model: LanguageModel | None = None,
    *,
    hot_words: Iterable[str] = (),
    config: FusionConfig | None = None,
) -> Scorer:
    """The scorer for a recogniser's labels. VocabularyError: a hot word cannot be written with them."""
    config = config or FusionConfig()
    if not isinstance(vocabulary, Vocabulary):
        assert isinstance(vocabulary, Subwords)
        spelled = Vocabulary(vocabulary.characters, vocabulary.normalisation)
        return _Pieces(vocabulary, spelled, fusion(spelled, model, hot_words=hot_words, config=config))
    hot = frozenset(word for each in hot_words for word in _spelled(each, vocabulary))
    if isinstance(model, Neural):
        return _Both((_Words(vocabulary, None, hot, config), _Network(vocabulary, model, config.weight)))
    if model is not None and WORD_BREAK in model.unigrams:
        return _Both((_Words(vocabulary, None, hot, config), _Characters(vocabulary, model, config.weight)))
    return _Words(vocabulary, model, hot, config)


def _spelled(hot: str, vocabulary: Vocabulary) -> list[str]:
    try:
        words = vocabulary.decode(vocabulary.encode(hot)).split()
    except VocabularyError as error:
        raise VocabularyError(f"hot words: {error}") from error
    if not words:
        raise VocabularyError(f"hot words: {hot!r} has no character of the recogniser")
    return words


class _Words:
    """A state is the model's, behind whole words, and the node of the word that has begun, or 0."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        model: LanguageModel | None,
        hot: frozenset[str],
        config: FusionConfig,
    ) -> None:
        self._model, self._config, self._hot = model, config, hot
        self._labels = len(vocabulary)
        self._children: list[dict[int, int]] = [{}]
        self._names: dict[int, str] = {}  # of nodes that are whole words
        unigrams = {} if model is None else model.unigrams
        unseen = config.weight * LN10 * unigrams.get(UNKNOWN, UNLIKELY) if unigrams else 0.0
        likeliest, hottest = [0.0], [0.0]  # below each node
        numbers = {character: label for label, character in enumerate(vocabulary.characters, start=2)}
        for word in {**dict.fromkeys(hot), **unigrams}:
            if word in (BEGIN, END, UNKNOWN) or not all(character in numbers for character in word):
                continue
            score = config.weight * LN10 * unigrams[word] if word in unigrams else unseen
            node = 0
            for place, character in enumerate(word, start=1):
                new = self._children[node].setdefault(numbers[character], len(self._children))
                if new == len(self._children):
                    self._children.append({})
                    likeliest.append(-math.inf)
                    hottest.append(0.0)
                node = new
                likeliest[node] = max(likeliest[node], score)
                if word in hot:
                    hottest[node] = max(hottest[node], config.hot_bonus * place / len(word))
            self._names[node] = word
        self._unknown = config.word_bonus - (config.unknown_penalty if model is not None else 0.0)
        # What is counted on at each node, the last one being OUT.
        self._counted = [
            0.0,
            *(one + config.word_bonus + two for one, two in zip(likeliest[1:], hottest[1:], strict=True)),
            unseen + self._unknown,
        ]
        self._moves: dict[int, Float[ndarray, " labels"]] = {}
        self.start: Any = (None if model is None else model.start, 0)

    def ready(self, states: Sequence[Any]) -> None:
        """Nothing has to be computed in one."""

    def added(self, state: Any) -> Float[ndarray, " labels"]:
        node = state[1]
        if node not in self._moves:
            row = np.full(self._labels, self._counted[OUT] - self._counted[node])
            if node != OUT:
                for label, child in self._children[node].items():
                    row[label] = self._counted[child] - self._counted[node]
            self._moves[node] = row
        row = self._moves[node].copy()
        row[SPACE] = self._finish(state)[1]
        return row

    def step(self, state: Any, label: int) -> Any:
        if label == SPACE:
            return self._finish(state)[0], 0
        before, node = state
        return before, OUT if node == OUT else self._children[node].get(label, OUT)

    def end(self, state: Any) -> float:
        behind, added = self._finish(state)
        if self._model is not None:
            added += self._config.weight * LN10 * self._model.score(behind, END)[1]
        return added

    def _finish(self, state: Any) -> tuple[Any, float]:
        """The model's state behind the word, and what the word adds to what was counted on."""
        before, node = state
        if node == 0:
            return before, 0.0
        name = self._names.get(node)
        added = self._unknown if name is None else self._config.word_bonus
        if name in self._hot:
            added += self._config.hot_bonus
        behind = None
        if self._model is not None:
            behind, score = self._model.score(before, name or UNKNOWN)
            added += self._config.weight * LN10 * score
        return behind, added - self._counted[node]


class _Characters:
    """A model of characters; its state is the model's own."""

    def __init__(self, vocabulary: Vocabulary, model: LanguageModel, weight: float) -> None:
        self._model, self._scale = model, weight * LN10
        self._names = ["", WORD_BREAK, *vocabulary.characters]
        self.start: Any = model.start

    def ready(self, states: Sequence[Any]) -> None:
        """Nothing has to be computed in one."""

    def added(self, state: Any) -> Float[ndarray, " labels"]:
        return np.array([0.0, *(self._scale * self._model.score(state, name)[1] for name in self._names[1:])])

    def step(self, state: Any, label: int) -> Any:
        return self._model.score(state, self._names[label])[0]

    def end(self, state: Any) -> float:
        return self._scale * self._model.score(state, END)[1]


class _Network:
    """A neural model of characters, whose states are computed together."""

    def __init__(self, vocabulary: Vocabulary, model: Neural, weight: float) -> None:
        self._model, self._scale = model, weight
        names = ["", WORD_BREAK, *vocabulary.characters]
        self._symbols = np.array([model.place(name) for name in names])
        self.start: Any = model.start

    def ready(self, states: Sequence[Any]) -> None:
        self._model.ready(states)

    def added(self, state: Any) -> Float[ndarray, " labels"]:
        row: ndarray = self._scale * self._model.row(state)[self._symbols]
        row[BLANK] = 0.0
        return row

    def step(self, state: Any, label: int) -> Any:
        return Said(state, int(self._symbols[label]))

    def end(self, state: Any) -> float:
        return self._scale * float(self._model.row(state)[EDGE])


class _Both:
    def __init__(self, scorers: Sequence[Scorer]) -> None:
        self._scorers = scorers
        self.start: Any = tuple(scorer.start for scorer in scorers)

    def ready(self, states: Sequence[Any]) -> None:
        for scorer, each in zip(self._scorers, zip(*states, strict=True), strict=False):
            scorer.ready(each)

    def added(self, state: Any) -> Float[ndarray, " labels"]:
        rows = [scorer.added(each) for scorer, each in zip(self._scorers, state, strict=True)]
        total: ndarray = np.sum(rows, axis=0)
        return total

    def step(self, state: Any, label: int) -> Any:
        return tuple(scorer.step(each, label) for scorer, each in zip(self._scorers, state, strict=True))

    def end(self, state: Any) -> float:
        return sum(scorer.end(each) for scorer, each in zip(self._scorers, state, strict=True))


class _Pieces:
    """A scorer of characters for subwords. A state is that one's, and whether anything has been written: no
    space stands in front of the first word."""

    def __init__(self, vocabulary: Subwords, spelled: Vocabulary, scorer: Scorer) -> None:
        self._scorer = scorer
        inside = [_spelling(piece, spelled) for piece in vocabulary.pieces]
        first = [piece[1:] if piece[:1] == (SPACE,) else piece for piece in inside]
        self._characters = first, inside
        self._begun = _beginnings(first), _beginnings(inside)
        self.start: Any = scorer.start, False

    def ready(self, states: Sequence[Any]) -> None:
        self._scorer.ready([state for state, _ in states])

    def added(self, state: Any) -> Float[ndarray, " labels"]:
        first, begun = state
        # behind what pieces begin with, which many share
        known: dict[tuple[int, ...], tuple[Any, float]] = {(): (first, 0.0)}
        for beginnings in self._begun[begun]:  # of one length, the shortest first
            self._scorer.ready([known[before][0] for before in beginnings])
            for before, labels in beginnings.items():
                behind, total = known[before]
                row = self._scorer.added(behind)
                for label in labels:
                    known[*before, label] = self._scorer.step(behind, label), total + float(row[label])
        return np.array([known[piece][1] for piece in self._characters[begun]])

    def step(self, state: Any, label: int) -> Any:
        behind, begun = state
        characters = self._characters[begun][label]
        for character in characters:
            behind = self._scorer.step(behind, character)
        return behind, begun or bool(characters)

    def end(self, state: Any) -> float:
        return self._scorer.end(state[0])


def _beginnings(pieces: Sequence[tuple[int, ...]]) -> list[dict[tuple[int, ...], list[int]]]:
    """What goes on, and with which labels: from nothing on, by the number of characters."""
    found: list[dict[tuple[int, ...], list[int]]] = [{} for _ in range(max(map(len, pieces)))]
    for through in dict.fromkeys(piece[: end + 1] for piece in pieces for end in range(len(piece))):
        found[len(through) - 1].setdefault(through[:-1], []).append(through[-1])
    return found


def _spelling(piece: str, vocabulary: Vocabulary) -> tuple[int, ...]:
    """The labels of a piece's characters, with the space in front that starts a word."""
    space = (SPACE,) if piece.startswith(" ") else ()
    return (*space, *vocabulary.encode(piece))
