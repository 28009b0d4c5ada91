"""Words while they are spoken, and how long after."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from sonorant.asr.beam import Scorer
from sonorant.asr.live import Heard, LiveConfig, listen
from sonorant.asr.transcribe import Recogniser
from sonorant.config import ConfigError
from sonorant.data.audio import blocks
from sonorant.data.stream import BLOCK, from_file, from_microphone
from sonorant.recipes.language import BEAM, Language
from sonorant.recipes.recognise import load_recogniser

Audio = Iterable[Float[ndarray, " _samples"]]
STDIN = Path("-")


@dataclass
class Latency:
    """Seconds from the last sample of a word's last frame to when the word was told.

    `waited` is the audio that had come behind it by then (algorithmic), `computed` the time from the newest
    block of that audio to the telling. Both are taken when a word is first told as a whole, mostly in a
    partial result.
    """

    overlap: float  # seconds that a frame's samples reach beyond its stride
    waited: list[float] = field(default_factory=list)
    computed: list[float] = field(default_factory=list)
    audio: float = 0.0  # seconds that came
    busy: float = 0.0  # seconds of computing
    _told: list[tuple[int, float, float]] = field(
        default_factory=list
    )  # of the line: letters, audio, computed

    def note(self, heard: Heard, computed: float) -> None:
        self._told.append((len(heard.text), heard.seconds, computed))
        letters = -1
        for word in heard.words or ():
            letters += 1 + len(word.text)
            _, came, took = next(each for each in self._told if each[0] >= letters)
            self.waited.append(came - word.end - self.overlap)
            self.computed.append(took)
        if heard.words is not None:
            self._told.clear()

    @property
    def behind(self) -> Float[ndarray, " words"]:
        """Seconds that each word was told behind its last sample."""
        behind: Float[ndarray, " words"] = np.array(self.waited) + np.array(self.computed)
        return behind

    @property
    def real_time_factor(self) -> float:
        return self.busy / max(self.audio, 1e-9)

    def summary(self) -> str:
        factor = f"{self.audio:.1f} s of audio, real-time factor {self.real_time_factor:.3f}"
        behind = self.behind
        if not len(behind):
            return f"no words; {factor}"
        return (
            f"{len(behind)} words, told {np.median(behind):.2f} s behind their last sample in the middle, "
            f"{np.quantile(behind, 0.95):.2f} s in the slowest of twenty ({np.median(self.waited):.2f} s of "
            f"waiting and {np.median(self.computed):.3f} s of computing in the middle); {factor}"
        )


def hear(
    run: Path,
    audio: Path | None,
    *,
    config: LiveConfig,
    rate: int | None = None,
    precision: str = "auto",
    language: Language | None = None,
) -> tuple[Iterator[Heard], Latency]:
    """What is said on the standard input (`-`), in a file, or (None) into the microphone, and its latency.

    `rate`: of raw samples on the standard input; None: the recogniser's. ConfigError: it has no CTC.
    """
    recogniser = load_recogniser(run, precision=precision)
    if recogniser.decoder is not None and not recogniser.decoder.ctc_weight:
        raise ConfigError(f"{run}: was trained without CTC, which listening needs")
    scorer = None if language is None else language.scorer(recogniser.vocabulary)
    if scorer is not None and config.beam is None:
        config = LiveConfig(
            chunk_seconds=config.chunk_seconds, look_ahead_seconds=config.look_ahead_seconds, beam=BEAM
        )
    wanted = recogniser.frontend.rate
    if audio is None:
        source: Audio = from_microphone(wanted)
    elif audio == STDIN:
        source = from_file(sys.stdin.buffer, rate or wanted, wanted)
    else:
        source = blocks(audio, wanted, BLOCK)
    latency = Latency(overlap(recogniser))
    return follow(source, recogniser, config, latency, scorer=scorer), latency


def follow(
    source: Audio,
    recogniser: Recogniser,
    config: LiveConfig,
    latency: Latency,
    *,
    scorer: Scorer | None = None,
) -> Iterator[Heard]:
    """What is said in blocks of samples at the front end's rate; its latency is added."""
    clock = _Clock(source, recogniser.frontend.rate, latency)
    for each in listen(clock, recogniser, config, scorer=scorer):
        yield each  # told first, so that its telling counts
        latency.note(each, time.perf_counter() - clock.since)


def overlap(recogniser: Recogniser) -> float:
    frontend = recogniser.frontend
    return (frontend.window - frontend.stride) / frontend.rate


@dataclass
class _Clock:
    """A stream that remembers when its newest block came, and counts what was computed between blocks."""

    audio: Audio
    rate: int
    latency: Latency
    since: float = 0.0

    def __iter__(self) -> Iterator[Float[ndarray, " _samples"]]:
        source = iter(self.audio)
        while (block := self._next(source)) is not None:
            self.latency.audio += len(block) / self.rate
            yield block
            self.latency.busy += time.perf_counter() - self.since

    def _next(self, source: Iterator[Float[ndarray, " _samples"]]) -> Float[ndarray, " _samples"] | None:
        """None where the stream ends; Ctrl-C while it is waited for ends it too."""
        try:
            return next(source, None)
        except KeyboardInterrupt:
            return None
        finally:
            self.since = time.perf_counter()
