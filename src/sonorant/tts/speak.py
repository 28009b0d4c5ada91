"""Sentences to audio files and a manifest's clips, each by a voice and at a pace that are drawn for it.

What is drawn is a function of the seed and the sentence, and a file is named by all that it depends on: so
neither the order of the sentences nor the number of threads changes anything, and what is there already is
not made again. A file is written beside its place and renamed, so that an interrupted run leaves whole files.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import soundfile
from msgspec import Meta

from sonorant.config import Config
from sonorant.data.audio import AudioError, load
from sonorant.data.manifest import Clip
from sonorant.data.schedule import derived
from sonorant.tts import loudness
from sonorant.tts.engine import Speaker, SpeechError
from sonorant.tts.spoken import UnspeakableError, spoken

RATE = 16000  # samples a second
SOURCE = "synthetic"
_AHEAD = 4  # sentences a thread has waiting

Pace = Annotated[float, Meta(ge=0.5, le=2)]


class SpeakConfig(Config, frozen=True, kw_only=True):
    """How sentences are spoken."""

    seed: int = 0
    paces: Annotated[tuple[Pace, ...], Meta(min_length=1)] = (0.9, 1.0, 1.1)  # of each voice's own speed
    language: str = "en"  # BCP 47: in which numbers are read
    threads: Annotated[int, Meta(ge=1)] = 2  # each waits for a program, or computes
    seconds: Annotated[float, Meta(gt=0)] = 60.0  # that a sentence may take


class Sentence(NamedTuple):
    line: int
    text: str  # in words


class Missing(NamedTuple):
    """A line of the text without audio, and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class Spoken:
    clips: list[Clip]
    skipped: list[Missing]
    repeated: int  # lines that say what an earlier one says
    made: int  # files that were not there before


def speak(
    lines: Iterable[str],
    speakers: Sequence[Speaker],
    audio: Path,
    config: SpeakConfig,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Spoken:
    """Speak a sentence a line, each different one once, into the folder `audio`; empty lines do not count.

    A sentence that an engine does not speak is skipped. SpeechError: that is so for all of them, or there is
    none. ConfigError: numbers are to be spoken and num2words is missing.
    """
    sentences, skipped, repeated = _sentences(lines, config.language)
    clips, made = [], 0
    audio.mkdir(parents=True, exist_ok=True)
    said = _ahead(lambda each: _said(each, speakers, audio, config), sentences, config.threads)
    for done, found in enumerate(said, start=1):
        if isinstance(found, Missing):
            skipped.append(found)
        else:
            clips.append(found[0])
            made += found[1]
        progress(done, len(sentences))
    skipped.sort()
    if not clips and skipped:
        first = f"line {skipped[0].line}: {skipped[0].reason}"
        raise SpeechError(f"none of {len(skipped)} sentences could be spoken; {first}")
    return Spoken(clips, skipped, repeated, made)


def _sentences(lines: Iterable[str], language: str) -> tuple[list[Sentence], list[Missing], int]:
    found: dict[str, Sentence] = {}
    missing, repeated = [], 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            text = spoken(line, language)
        except UnspeakableError as error:
            missing.append(Missing(number, str(error)))
            continue
        repeated += text in found
        found.setdefault(text, Sentence(number, text))
    return list(found.values()), missing, repeated


Made = tuple[Clip, bool] | Missing  # a clip and whether it is new


def _ahead(make: Callable[[Sentence], Made], sentences: Sequence[Sentence], threads: int) -> Iterator[Made]:
    """What is made of each sentence, in their order."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="speak")
    pending: deque[Future[Made]] = deque()
    try:
        for sentence in sentences:
            pending.append(pool.submit(make, sentence))
            if len(pending) > _AHEAD * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _said(sentence: Sentence, speakers: Sequence[Speaker], audio: Path, config: SpeakConfig) -> Made:
    """The clip of a sentence, made unless it is there."""
    text = sentence.text
    speaker = speakers[derived(config.seed, text, "voice") % len(speakers)]
    engine = speaker.engine
    pace = config.paces[derived(config.seed, text, "pace") % len(config.paces)] if engine.paced else 1.0
    settings = (engine.name, engine.version, speaker.voice, pace, text, RATE, loudness.LEVEL)
    name = hashlib.blake2b(repr(settings).encode(), digest_size=12).hexdigest()
    path = audio / f"{name}.flac"
    samples = _samples(path)
    if new := samples is None:
        raw = audio / f"{name}.partial.wav"
        try:
            engine.speak(text, voice=speaker.voice, pace=pace, out=raw, seconds=config.seconds)
            samples = _keep(raw, path)
        except (SpeechError, AudioError) as error:
            return Missing(sentence.line, f"{speaker.name}: {error}")
        finally:
            raw.unlink(missing_ok=True)
    clip = Clip(
        id=f"{SOURCE}-{name}",
        path=str(path),
        samples=samples or 0,
        rate=RATE,
        speaker=speaker.name,
        language=config.language,
        text=text,
        source=SOURCE,
    )
    return clip, new


def _keep(raw: Path, path: Path) -> int:
    """Write an engine's audio as all audio is to be, and give its number of samples.

    AudioError: there is none. SpeechError: it is silent.
    """
    wave = loudness.levelled(load(Clip(raw.stem, str(raw)), RATE), RATE)
    if wave is None:
        raise SpeechError("is silent")
    partial = path.with_suffix(".partial.flac")
    soundfile.write(partial, wave, RATE, subtype="PCM_16")
    partial.replace(path)
    return len(wave)


def _samples(path: Path) -> int | None:
    """The length of a file that is there and whole."""
    try:
        return int(soundfile.info(path).frames) or None
    except soundfile.LibsndfileError:
        return None
