"""Questions to a language model: the probability of a word behind others, the perplexity of a text."""

import math
import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sonorant.lm import neural
from sonorant.lm.arpa import BEGIN, END, UNKNOWN, ArpaError, TextError, read

UNLIKELY = -100.0  # log10 probability of an unknown word where a model has none, as in KenLM


class LanguageModel(Protocol):
    """Words one by one; a state is what has been said so far, as far as it matters."""

    @property
    def unigrams(self) -> Mapping[str, float]: ...  # log10 probabilities of all words without context

    @property
    def start(self) -> Any: ...  # the state at the start of a sentence

    def score(self, state: Any, word: str) -> tuple[Any, float]:
        """The state behind the word and its log10 probability; any word not in `unigrams` is unknown."""
        ...


class Backoff:
    """A model in a tree of n-grams, in Python alone. States are nodes: the longest history that is known.

    An n-gram that has not been seen has its shorter one's probability, times the history's weight.
    """

    def __init__(self, path: Path) -> None:
        """The model of an ARPA file. ArpaError: it is none, or lacks the history of an n-gram."""
        self._children: dict[tuple[int, str], int] = {}
        self._probabilities, self._backoffs = array("d", [0.0]), array("d", [0.0])
        self._shorter = array("q", [0])  # the node of the longest n-gram known that ends like this one
        self.unigrams: dict[str, float] = {}
        for entry in read(path):
            self._add(entry.words, entry.probability, entry.backoff, f"{path}: line {entry.line}")
            if len(entry.words) == 1:
                self.unigrams[entry.words[0]] = entry.probability
        self.start = self._children.get((0, BEGIN), 0)

    def _add(self, words: Sequence[str], probability: float, backoff: float, where: str) -> None:
        *history, word = words
        node = 0
        for each in history:
            if (found := self._children.get((node, each))) is None:
                raise ArpaError(f"{where}: {' '.join(history)!r} is not among the {len(history)}-grams")
            node = found
        new = self._children.setdefault((node, word), len(self._shorter))
        if new < len(self._shorter):
            raise ArpaError(f"{where}: {' '.join(words)!r} comes twice")
        self._probabilities.append(probability)
        self._backoffs.append(backoff)
        self._shorter.append(self._known_end(node, word))

    def _known_end(self, history: int, word: str) -> int:
        """The longest n-gram known that ends in this word, with less of the history."""
        while history:
            history = self._shorter[history]
            if (found := self._children.get((history, word))) is not None:
                return found
        return 0

    def score(self, state: int, word: str) -> tuple[int, float]:
        if word not in self.unigrams:
            word = UNKNOWN
        weight = 0.0
        while (found := self._children.get((state, word))) is None:
            if not state:  # there is no unknown word in this model
                return 0, UNLIKELY + weight
            weight += self._backoffs[state]
            state = self._shorter[state]
        return found, weight + self._probabilities[found]


class KenLM:
    """The same from the package `kenlm`, which is faster and holds larger models."""

    def __init__(self, path: Path) -> None:
        """The model of an ARPA file. ArpaError: it is none. ImportError: kenlm is not installed."""
        import kenlm

        self._kenlm = kenlm
        self.unigrams = {entry.words[0]: entry.probability for entry in read(path, highest=1)}
        config = kenlm.Config()
        config.show_progress = False
        config.arpa_complain = kenlm.ARPALoadComplain.NONE
        try:
            self._model = kenlm.Model(os.fspath(path), config)
        except (OSError, RuntimeError) as error:
            Backoff(path)  # which names the line
            raise ArpaError(f"{path}: kenlm cannot read it: {' '.join(str(error).split())}") from error
        self.start = kenlm.State()
        self._model.BeginSentenceWrite(self.start)

    def score(self, state: Any, word: str) -> tuple[Any, float]:
        new = self._kenlm.State()
        return new, self._model.BaseScore(state, word, new)


def load(path: Path) -> LanguageModel:
    """The model of an ARPA file, with `kenlm` where it is installed, or the neural one of a folder.

    ArpaError, NeuralError: it is none.
    """
    if path.is_dir():
        return neural.load(path)
    try:
        return KenLM(path)
    except ImportError:
        return Backoff(path)


@dataclass(frozen=True)
class Perplexity:
    """How many equally likely words a model as unsure would choose from; ends of sentences are words too."""

    perplexity: float
    known: float  # without unknown words
    words: int
    unknown: int  # of these


def perplexity(model: LanguageModel, sentences: Iterable[Sequence[str]]) -> Perplexity:
    """Of sentences of words. TextError: there is no word."""
    total, unseen, words, unknown = 0.0, 0.0, 0, 0
    for sentence in sentences:
        state = model.start
        for word in (*sentence, END) if sentence else ():
            state, score = model.score(state, word)
            total += score
            words += 1
            if word not in model.unigrams:
                unknown += 1
                unseen += score
    if not words:
        raise TextError("no words: a perplexity needs a text")
    known = words - unknown
    return Perplexity(
        perplexity=10 ** (-total / words),
        known=10 ** (-(total - unseen) / known) if known else math.inf,
        words=words,
        unknown=unknown,
    )
