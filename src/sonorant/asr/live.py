"""Words while they are spoken: a stream of audio to partial results and final lines.

The recogniser meets a chunk as soon as it has its look-ahead, together with up to `CONTEXT` before it, and
only the chunk's frames count, each once. So words depend on chunk and look-ahead, and not on the blocks in
which audio comes. No encoder carries a state from chunk to chunk: causal ones too meet their context anew.

A line ends in a pause, or before the next word once it is long; it is a search, and to a language model a
sentence, of its own. What is settled in it is told at once: greedily that is everything, in a beam what all
kept hypotheses begin with. So a partial result is always the beginning of its line.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from jaxtyping import Float
from msgspec import Meta
from numpy import ndarray

from sonorant.asr.beam import Beam, Scorer, Search
from sonorant.asr.decode import Word, forced_alignment, greedy, words
from sonorant.asr.transcribe import Recogniser, infer
from sonorant.asr.vocabulary import BLANK
from sonorant.config import Config

CONTEXT = 8.0  # seconds before a chunk that the recogniser meets with it
PAUSE = 1.0  # seconds without a label that end a line
LINE = 10.0  # seconds from which a line ends before the next word; from twice as many in any blank


class LiveConfig(Config, frozen=True, kw_only=True):
    """When words are told, and how they are searched for."""

    chunk_seconds: Annotated[float, Meta(gt=0)] = 0.5
    look_ahead_seconds: Annotated[float, Meta(ge=0)] = 0.5  # of audio behind a chunk that it waits for
    beam: Annotated[int, Meta(ge=1)] | None = None  # prefixes kept; None: greedy


@dataclass(frozen=True)
class Heard:
    """A line so far or, with its words, as it stays; `seconds` of audio had come when it was known."""

    text: str
    seconds: float
    words: tuple[Word, ...] | None = None


def listen(
    audio: Iterable[Float[ndarray, " _samples"]],
    recogniser: Recogniser,
    config: LiveConfig,
    *,
    scorer: Scorer | None = None,
) -> Iterator[Heard]:
    """What is said in blocks of samples at the front end's rate. A scorer needs a beam.

    Each line's partial results grow, and it begins with each of them.
    """
    cutter, line = _Cutter.of(recogniser), _Line(recogniser, config.beam, scorer)
    told, seconds = "", 0.0
    for frames, came in live_frames(audio, recogniser, config):
        seconds = came
        for piece, ends in cutter.cut(frames):
            line.feed(piece)
            if ends:
                yield from line.final(seconds)
                line, told = _Line(recogniser, config.beam, scorer, line.first + line.length), ""
        if (text := line.settled()) != told:
            yield Heard(text, seconds)
            told = text
    yield from line.final(seconds)


def live_frames(
    audio: Iterable[Float[ndarray, " _samples"]], recogniser: Recogniser, config: LiveConfig
) -> Iterator[tuple[Float[ndarray, "_time labels"], float]]:
    """CTC's log probabilities chunk by chunk, and how many seconds of audio had come by then."""
    frontend, count = recogniser.frontend, len(recogniser.vocabulary)
    stride, rate = frontend.stride, frontend.rate
    hop = max(1, round(config.chunk_seconds * rate / stride))  # frames from here on
    ahead, back = (round(each * rate / stride) for each in (config.look_ahead_seconds, CONTEXT))
    pending = np.zeros(0, dtype=np.float32)
    first = done = came = 0  # the frame that pending samples begin with, the next one to tell; samples
    for block in audio:
        pending = np.concatenate([pending, block])
        came += len(block)
        while len(pending) >= (needed := (done + hop + ahead - first - 1) * stride + frontend.window):
            frames = infer(pending[:needed], recogniser)[done - first : done - first + hop, :count]
            done += hop
            left = max(0, done - back) - first
            pending, first = pending[left * stride :], first + left
            yield frames, came / rate
    if len(frames := infer(pending, recogniser)) > done - first:
        yield frames[done - first :, :count], came / rate


@dataclass
class _Cutter:
    """Where lines end, decided frame by frame from the likeliest labels."""

    silent: frozenset[int]  # labels that write nothing visible
    starting: frozenset[int]  # labels that start a word
    pause: int  # frames, as `long`
    long: int
    length: int = 0  # frames of the line so far
    quiet: int = 0  # how many of the last ones are silent
    last: int = BLANK  # the label of the last one

    @classmethod
    def of(cls, recogniser: Recogniser) -> "_Cutter":
        vocabulary, frame = recogniser.vocabulary, recogniser.seconds_per_frame
        pieces = {label: vocabulary.piece(label) for label in range(1, len(vocabulary))}
        return cls(
            silent=frozenset({BLANK, *(label for label, piece in pieces.items() if piece == " ")}),
            starting=frozenset(label for label, piece in pieces.items() if piece.startswith(" ")),
            pause=round(PAUSE / frame),
            long=round(LINE / frame),
        )

    def cut(
        self, frames: Float[ndarray, "time labels"]
    ) -> Iterator[tuple[Float[ndarray, "_time labels"], bool]]:
        """The frames line by line, and whether the line ends with them."""
        start = 0
        for place, label in enumerate(frames.argmax(1).tolist()):
            if self._ends_before(label):
                yield frames[start:place], True
                start, self.length, self.quiet = place, 0, 0
            self.length += 1
            self.quiet = self.quiet + 1 if label in self.silent else 0
            self.last = label
        yield frames[start:], False

    def _ends_before(self, label: int) -> bool:
        if self.quiet >= self.pause:
            return True
        if self.length < self.long:
            return False
        word = label in self.starting and label != self.last
        return word or (self.length >= 2 * self.long and label == BLANK)


@dataclass
class _Line:
    """A line that is being spoken."""

    recogniser: Recogniser
    width: int | None
    scorer: Scorer | None
    first: int = 0  # frame
    length: int = 0
    pieces: list[Float[ndarray, "_time labels"]] = field(default_factory=list)
    search: Search | None = None

    def __post_init__(self) -> None:
        if self.width is not None:
            self.search = Beam(width=self.width, scorer=self.scorer).begin()

    def feed(self, frames: Float[ndarray, "time labels"]) -> None:
        if len(frames):
            self.pieces.append(frames)
            self.length += len(frames)
            if self.search is not None:
                self.search.feed(frames)

    def settled(self) -> str:
        """What will not change."""
        if not self.pieces:
            return ""
        labels = self._greedy() if self.search is None else self.search.settled()
        return " ".join(self.recogniser.vocabulary.decode(labels).split())

    def final(self, seconds: float) -> Iterator[Heard]:
        """The line as it stays, if it has words."""
        if not self.pieces:
            return
        labels = self._greedy() if self.search is None else self.search.found(final=True).labels
        frame = self.recogniser.seconds_per_frame
        tokens = forced_alignment(np.concatenate(self.pieces), labels)
        found = tuple(
            replace(word, start=word.start + self.first * frame, end=word.end + self.first * frame)
            for word in words(tokens, self.recogniser.vocabulary, frame)
        )
        if found:
            yield Heard(" ".join(word.text for word in found), seconds, found)

    def _greedy(self) -> Sequence[int]:
        return [token.label for token in greedy(np.concatenate(self.pieces))]
