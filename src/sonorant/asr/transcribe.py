"""Audio of any length to words, in memory that does not grow with it.

The recogniser meets chunks that overlap. Of each chunk only the middle counts, where both sides have context:
a chunk's last `margin` and the next one's first are computed twice and trusted once. The frames are joined on
one grid, as if the recogniser had met the whole recording, and decoded a window at a time; windows are cut
where the blank is surest, so that no character is cut in two. For the greedy decoder the cut changes nothing.

An attention decoder meets sentences, not streams: its windows are shorter, cut in the longest pause, and each
is one sentence, to a language model too.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float
from msgspec import Meta
from numpy import ndarray

from sonorant.asr.attention import Attention
from sonorant.asr.beam import Beam, Scorer
from sonorant.asr.decode import Token, Word, greedy, words
from sonorant.asr.vocabulary import BLANK, Spelling
from sonorant.config import Config
from sonorant.data.audio import blocks
from sonorant.data.chunks import overlapping
from sonorant.types import Padded

SENTENCE = 15.0  # seconds that an attention decoder meets at once, about: few that it learned from are longer


class TranscribeConfig(Config, frozen=True, kw_only=True):
    """How long recordings are cut, and how labels are searched for."""

    chunk_seconds: Annotated[float, Meta(gt=0)] = 20.0  # what the recogniser meets at once
    margin_seconds: Annotated[float, Meta(ge=0.1)] = 2.0  # not trusted at either side of a chunk
    window_seconds: Annotated[float, Meta(gt=0)] = 30.0  # decoded at once, about
    beam: Annotated[int, Meta(ge=1)] | None = None  # prefixes kept; None: greedy

    def __post_init__(self) -> None:
        if self.chunk_seconds <= 2 * self.margin_seconds:
            raise ValueError(
                f"chunk_seconds: {self.chunk_seconds:g} leaves nothing between two margins of "
                f"{self.margin_seconds:g} s"
            )


class Framing(Protocol):
    """How waveforms become frames: what transcribing needs of a front end."""

    @property
    def rate(self) -> int: ...  # samples a second

    @property
    def stride(self) -> int: ...  # samples from one frame to the next

    @property
    def window(self) -> int: ...  # samples that one frame needs

    def frames(self, samples: int) -> int: ...


@dataclass(frozen=True)
class Recogniser:
    """What transcribing needs of a model."""

    log_probabilities: Callable[[Padded], Padded]  # waveforms to "batch time labels", or as `decoder` has it
    frontend: Framing
    vocabulary: Spelling
    decoder: Attention | None = None

    @property
    def seconds_per_frame(self) -> float:
        return self.frontend.stride / self.frontend.rate


@dataclass(frozen=True)
class Transcript:
    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


def transcribe(
    path: Path,
    recogniser: Recogniser,
    config: TranscribeConfig | None = None,
    *,
    scorer: Scorer | None = None,
) -> Transcript:
    """The words of an audio file; a scorer needs a beam. AudioError: it cannot be read."""
    config = config or TranscribeConfig()
    audio = blocks(path, recogniser.frontend.rate, config.chunk_seconds)
    return Transcript(tuple(transcribe_blocks(audio, recogniser, config, scorer=scorer)))


def transcribe_blocks(
    audio: Iterable[Float[ndarray, " _samples"]],
    recogniser: Recogniser,
    config: TranscribeConfig,
    *,
    scorer: Scorer | None = None,
) -> Iterator[Word]:
    """The words of consecutive blocks of samples at the front end's rate, soon after they are spoken."""
    frames, seconds_per_frame = stitched(audio, recogniser, config), recogniser.seconds_per_frame
    if recogniser.decoder is None:
        pieces = windows(frames, round(config.window_seconds / seconds_per_frame))
        yield from words(tokens(pieces, config.beam, scorer), recogniser.vocabulary, seconds_per_frame)
        return
    seconds = 0.0
    for piece in sentences(frames, recogniser):
        (found,) = spoken([piece], recogniser, config.beam, scorer)
        for word in found:
            yield replace(word, start=word.start + seconds, end=word.end + seconds)
        seconds += len(piece) * seconds_per_frame


def spoken(
    utterances: Sequence[Float[ndarray, "_time width"]],
    recogniser: Recogniser,
    width: int | None,
    scorer: Scorer | None = None,
) -> list[list[Word]]:
    """The words of each utterance's frames: by a beam of that width, or else greedily."""
    vocabulary, seconds_per_frame = recogniser.vocabulary, recogniser.seconds_per_frame
    if recogniser.decoder is None:
        each = (tokens([frames], width, scorer) for frames in utterances)
        return [list(words(found, vocabulary, seconds_per_frame)) for found in each]
    cut = [list(sentences([frames], recogniser)) for frames in utterances]
    pieces = [piece for parts in cut for piece in parts]
    searched = iter(recogniser.decoder.tokens(pieces, width=width or 1, scorer=scorer))
    result: list[list[Word]] = []
    for parts in cut:
        result.append([])
        offset = 0
        for piece in parts:
            moved = [
                replace(token, start=token.start + offset, end=token.end + offset) for token in next(searched)
            ]
            result[-1] += words(moved, vocabulary, seconds_per_frame)
            offset += len(piece)
    return result


def stitched(
    audio: Iterable[Float[ndarray, " _samples"]], recogniser: Recogniser, config: TranscribeConfig
) -> Iterator[Float[ndarray, "_time labels"]]:
    """The log probabilities of consecutive blocks of samples, every frame once and in order.

    A recording of up to `chunk_seconds` is one chunk, computed as a whole.
    """
    stride, rate = recogniser.frontend.stride, recogniser.frontend.rate
    chunk = round(config.chunk_seconds * rate / stride)  # frames from here on: chunks start on the grid
    margin = round(config.margin_seconds * rate / stride)
    first = 0
    for samples, final in overlapping(audio, chunk * stride, (chunk - 2 * margin) * stride):
        frames = infer(samples, recogniser)
        trusted = frames[first : None if final else chunk - margin]
        if not final and len(frames) < chunk - margin:
            raise ValueError(
                f"margin_seconds: {config.margin_seconds:g} is less than what the front end looks ahead"
            )
        if len(trusted):
            yield trusted
        first = margin


def infer(samples: Float[ndarray, " samples"], recogniser: Recogniser) -> Float[ndarray, "time labels"]:
    """The log probabilities of a stretch of samples; none where it is too short for a frame."""
    if recogniser.frontend.frames(len(samples)) < 1:
        return np.zeros((0, 0), dtype=np.float32)
    inputs = Padded(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
    with torch.inference_mode():
        result = recogniser.log_probabilities(inputs)
    frames: ndarray = result.values[0, : int(result.lengths[0])].float().cpu().numpy()
    return frames


def windows(
    pieces: Iterable[Float[ndarray, "_time labels"]], length: int
) -> Iterator[Float[ndarray, "_time labels"]]:
    """The same frames in stretches of half to about the whole `length`, cut behind a blank."""
    return _windows(pieces, length, _cut)


def sentences(
    pieces: Iterable[Float[ndarray, "_time width"]], recogniser: Recogniser
) -> Iterator[Float[ndarray, "_time width"]]:
    """The same frames in stretches of half to about the whole `SENTENCE`, cut in the longest pause."""
    labels, length = len(recogniser.vocabulary), round(SENTENCE / recogniser.seconds_per_frame)
    separators = [
        label for label in range(labels) if label == BLANK or recogniser.vocabulary.piece(label) == " "
    ]

    def pause(frames: Float[ndarray, "time width"], first: int) -> int:
        return _pause(np.isin(frames[:length, :labels].argmax(1), separators), first)

    return _windows(pieces, length, pause)


def _windows(
    pieces: Iterable[Float[ndarray, "_time width"]],
    length: int,
    cutter: Callable[[Float[ndarray, "time width"], int], int],
) -> Iterator[Float[ndarray, "_time width"]]:
    pending: list[Float[ndarray, "_time width"]] = []
    for piece in pieces:
        pending.append(piece)
        while sum(map(len, pending)) > length:
            frames = np.concatenate(pending)
            cut = cutter(frames, max(length // 2, 1))
            pending = [frames[cut:]] if cut else [frames]
            if not cut:
                break
            yield frames[:cut]
    if pending:
        yield np.concatenate(pending)


def _pause(silent: Bool[ndarray, " time"], first: int) -> int:
    """The middle of the longest stretch of silent frames from frame `first` on; without one, their end."""
    changes = np.flatnonzero(np.diff(silent[first:], prepend=False, append=False)).reshape(-1, 2)
    if not len(changes):
        return len(silent)
    start, end = changes[np.diff(changes)[:, 0].argmax()]
    return first + int(start + end) // 2


def _cut(frames: Float[ndarray, "time labels"], first: int) -> int:
    """The frame from `first` on with the surest blank before it, or 0 if one character never ends."""
    best = frames[first - 1 :].argmax(1)
    within = (best[1:] == best[:-1]) & (best[1:] != BLANK)
    blank = np.where(within, -np.inf, frames[first - 1 : -1, BLANK])
    return 0 if within.all() else first + int(blank.argmax())


def tokens(
    pieces: Iterable[Float[ndarray, "_time labels"]], width: int | None, scorer: Scorer | None = None
) -> Iterator[Token]:
    """The tokens of a recording's frames, piece by piece: by a beam of that width, or else greedily."""
    if width is not None:
        yield from Beam(width=width, scorer=scorer).tokens(pieces)
        return
    offset = 0
    for frames in pieces:
        for token in greedy(frames):
            yield replace(token, start=token.start + offset, end=token.end + offset)
        offset += len(frames)
