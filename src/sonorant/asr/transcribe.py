"""Audio of any length to words, in memory that does not grow with it.

The recogniser meets chunks that overlap. Of each chunk only the middle counts, where both sides have context:
a chunk's last `margin` and the next one's first are computed twice and trusted once. The frames are joined on
one grid, as if the recogniser had met the whole recording, and decoded a window at a time; windows are cut
where the blank is surest, so that no character is cut in two. For the greedy decoder the cut changes nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
import torch
from jaxtyping import Float
from msgspec import Meta
from numpy import ndarray

from sonorant.asr.beam import Beam, Scorer
from sonorant.asr.decode import Token, Word, greedy, words
from sonorant.asr.vocabulary import BLANK, Vocabulary
from sonorant.config import Config
from sonorant.data.audio import blocks
from sonorant.data.chunks import overlapping
from sonorant.types import Padded


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

    def frames(self, samples: int) -> int: ...


@dataclass(frozen=True)
class Recogniser:
    """What transcribing needs of a model."""

    log_probabilities: Callable[[Padded], Padded]  # waveforms to "batch time labels"
    frontend: Framing
    vocabulary: Vocabulary


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
    frontend = recogniser.frontend
    seconds_per_frame = frontend.stride / frontend.rate
    frames = stitched(audio, recogniser, config)
    pieces = windows(frames, round(config.window_seconds / seconds_per_frame))
    return words(tokens(pieces, config.beam, scorer), recogniser.vocabulary, seconds_per_frame)


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
        frames = _infer(samples, recogniser)
        trusted = frames[first : None if final else chunk - margin]
        if not final and len(frames) < chunk - margin:
            raise ValueError(
                f"margin_seconds: {config.margin_seconds:g} is less than what the front end looks ahead"
            )
        if len(trusted):
            yield trusted
        first = margin


def _infer(samples: Float[ndarray, " samples"], recogniser: Recogniser) -> Float[ndarray, "time labels"]:
    if recogniser.frontend.frames(len(samples)) < 1:
        return np.zeros((0, len(recogniser.vocabulary)), dtype=np.float32)
    inputs = Padded(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
    with torch.inference_mode():
        result = recogniser.log_probabilities(inputs)
    frames: ndarray = result.values[0, : int(result.lengths[0])].float().cpu().numpy()
    return frames


def windows(
    pieces: Iterable[Float[ndarray, "_time labels"]], length: int
) -> Iterator[Float[ndarray, "_time labels"]]:
    """The same frames in stretches of half to about the whole `length`, cut behind a blank."""
    pending: list[Float[ndarray, "_time labels"]] = []
    for piece in pieces:
        pending.append(piece)
        while sum(map(len, pending)) > length:
            frames = np.concatenate(pending)
            cut = _cut(frames, max(length // 2, 1))
            pending = [frames[cut:]] if cut else [frames]
            if not cut:
                break
            yield frames[:cut]
    if pending:
        yield np.concatenate(pending)


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
