"""Where the phones and words of transcribed English speech begin and end, by alignment with pocketsphinx.

Clips with a text become clips with `units`: the 39 phones of the CMU dictionary (ARPABET without stress), in
seconds from the clip's start, to 10 ms; the words that these make up are told beside them. Silence and noise
are left out: they are the gaps. A clip is skipped, with its reason, when a word is not in the dictionary, and
when its alignment is implausible, which mostly means that something else is said than the text has.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any

import msgspec
import numpy as np

from sonorant.asr.textgrid import Unit
from sonorant.data.audio import AudioError, load
from sonorant.data.manifest import Clip
from sonorant.data.text import normalize

RATE = 16000  # samples a second, of the acoustic model
FRAME = 0.01  # seconds

# Measured on 685 clips of acted game dialogue, with their own texts and with other clips' texts. Each limit
# refuses 1 to 2 % of the former; together with alignments that fail, they refuse most of the latter.
SHORTEST = 3  # frames: no phone can be shorter
SHORT_SHARE = 0.4  # of the phones may be that short (own texts: median 0.09; others': 0.33)
LONGEST = 100  # frames that a phone may last
WORST_SCORE = -45.0  # a frame, on average, in pocketsphinx's units (own texts: median -25; others': -44)


class AlignmentError(ValueError):
    """Alignment cannot start."""


@dataclass(frozen=True)
class Alignment:
    clips: tuple[Clip, ...]  # with phones as `units`, in the order they came in
    words: dict[str, list[Unit]]  # clip id: its words, as the dictionary spells them
    skipped: dict[str, str]  # clip id: `kind of reason` or `kind of reason: details`


@dataclass(frozen=True)
class _Phone:
    label: str
    word: int  # which one of the clip
    start: int  # frames
    frames: int
    score: int


def align(
    clips: Sequence[Clip], *, processes: int = 2, progress: Callable[[int, int], None] | None = None
) -> Alignment:
    """The phones of English clips; `progress` is told how many of how many clips are done.

    AlignmentError: pocketsphinx is not installed.
    """
    if find_spec("pocketsphinx") is None:
        raise AlignmentError("alignment needs pocketsphinx (pip install 'sonorant[align]')")
    if processes == 1:
        return _collect(clips, map(_aligned, clips), progress)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return _collect(clips, pool.map(_aligned, clips, chunksize=8), progress)


def _collect(clips: Sequence[Clip], results: Any, progress: Callable[[int, int], None] | None) -> Alignment:
    aligned: list[Clip] = []
    words: dict[str, list[Unit]] = {}
    skipped: dict[str, str] = {}
    for number, (clip, result) in enumerate(zip(clips, results, strict=True), start=1):
        if isinstance(result, str):
            skipped[clip.id] = result
        else:
            phones, words[clip.id] = result
            aligned.append(msgspec.structs.replace(clip, units=phones))
        if progress is not None:
            progress(number, len(clips))
    return Alignment(tuple(aligned), words, skipped)


def _aligned(clip: Clip) -> tuple[list[Unit], list[Unit]] | str:
    """The clip's phones and its words, or the reason why not."""
    if not (text := normalize(clip.text or "")):
        return "no text"
    words = [_spelling(word) for word in text.split()]
    if unknown := [word for word, known in zip(text.split(), words, strict=True) if known is None]:
        return f"not in the dictionary: {' '.join(unknown)}"
    try:
        wave = load(clip, RATE)
    except AudioError as error:
        return f"audio: {error}"
    spelled = [word for word in words if word]
    phones = _phones(wave, " ".join(spelled))
    if not phones:
        return "no alignment: the words do not fit the audio"
    if flaw := _flaw(phones):
        return f"implausible: {flaw}"
    members: dict[int, list[_Phone]] = {}
    for phone in phones:
        members.setdefault(phone.word, []).append(phone)
    seconds = len(wave) / RATE
    said = [_unit(spelled[word], inside, seconds) for word, inside in members.items()]
    return [_unit(phone.label, [phone], seconds) for phone in phones], said


def _unit(label: str, phones: Sequence[_Phone], seconds: float) -> Unit:
    """A label from its first phone's start to its last one's end, within so many seconds."""
    end = phones[-1].start + phones[-1].frames
    return label, round(phones[0].start * FRAME, 2), min(round(end * FRAME, 2), seconds)


@cache
def _decoder() -> Any:
    """One a process: a decoder holds the utterance it is at."""
    from pocketsphinx import Decoder

    # Searching the word lattice for a better path (bestpath) cuts off the last words of one clip in seven.
    # The beams are wider than the default ones, in which one of 140 clips found no path.
    wide = {"beam": 1e-100, "wbeam": 1e-80, "pbeam": 1e-100}
    return Decoder(lm=None, samprate=RATE, bestpath=False, loglevel="FATAL", **wide)


def _spelling(word: str) -> str | None:
    """The word as the dictionary has it: as it is, or without apostrophes around it."""
    for spelling in (word, word.strip("'")):
        if spelling and _decoder().lookup_word(spelling) is not None:
            return spelling
    return "" if not word.strip("'") else None


def _phones(wave: np.ndarray, text: str) -> list[_Phone]:
    """The phones of the likeliest path through all of the words, or none."""
    decoder = _decoder()
    audio = np.rint(np.clip(wave, -1, 1) * 32767).astype(np.int16).tobytes()
    try:
        decoder.set_align_text(text)
        _decode(decoder, audio)
        if decoder.hyp() is None or decoder.hyp().hypstr != text:
            return []
        decoder.set_alignment()
        _decode(decoder, audio)
    except RuntimeError:  # pocketsphinx's only exception, such as for audio shorter than a frame
        return []
    spoken = [
        inside
        for word in decoder.get_alignment()
        if (inside := [phone for phone in word if phone.name.isalpha() and phone.name != "SIL"])
    ]
    return [
        _Phone(phone.name, place, phone.start, phone.duration, phone.score)
        for place, inside in enumerate(spoken)
        for phone in inside
    ]


def _decode(decoder: Any, audio: bytes) -> None:
    decoder.reinit_feat()  # or what is left of the clips before moves the edges of this one's phones
    decoder.start_utt()
    try:
        decoder.process_raw(audio, full_utt=True)
    finally:
        decoder.end_utt()


def _flaw(phones: Sequence[_Phone]) -> str | None:
    short = sum(phone.frames <= SHORTEST for phone in phones) / len(phones)
    longest = max(phones, key=lambda phone: phone.frames)
    score = sum(phone.score for phone in phones) / sum(phone.frames for phone in phones)
    if short > SHORT_SHARE:
        return f"{short:.0%} of the phones are as short as a phone can be"
    if longest.frames > LONGEST:
        return f"{longest.label} lasts {longest.frames * FRAME:.2f} s"
    if score < WORST_SCORE:
        return f"the score is {score:.0f} a frame"
    return None
