"""Transcripts as files that people and programs read: subtitles, JSON, CTM, plain text."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from html import escape
from itertools import pairwise
from math import inf

from sonorant.asr.decode import Word
from sonorant.asr.transcribe import Transcript

PAUSE = 1.0  # seconds of silence that end a line
SHOWN = 1.0  # seconds that a line takes to be read, at least; a recogniser's words can be a frame long


def lines(words: Iterable[Word], *, characters: int = 42, seconds: float = 7.0) -> Iterator[tuple[Word, ...]]:
    """Words grouped into lines of subtitles: a pause, the width or the duration ends one.

    A single word that is wider or longer than a line has one for itself.
    """
    line: list[Word] = []
    for word in words:
        width = sum(len(each.text) + 1 for each in line) + len(word.text)
        if line and (
            width > characters or word.end - line[0].start > seconds or word.start - line[-1].end > PAUSE
        ):
            yield tuple(line)
            line = []
        line.append(word)
    if line:
        yield tuple(line)


def srt(transcript: Transcript) -> str:
    """SubRip: numbered lines, each shown while it is spoken and for `SHOWN` unless the next one starts."""
    return "\n".join(
        f"{number}\n{_time(start, ',')} --> {_time(end, ',')}\n{_text(line)}\n"
        for number, (line, start, end) in enumerate(_shown(transcript), start=1)
    )


def vtt(transcript: Transcript) -> str:
    """WebVTT, https://www.w3.org/TR/webvtt1/: the lines of `srt` unnumbered, `&`, `<` and `>` escaped."""
    cues = (
        f"\n{_time(start, '.')} --> {_time(end, '.')}\n{escape(_text(line), quote=False)}\n"
        for line, start, end in _shown(transcript)
    )
    return "".join(["WEBVTT\n", *cues])


def ctm(words: Iterable[Word], name: str) -> str:
    """NIST's time-marked conversation: `file channel start duration word confidence` a line, in seconds.

    Spaces in the name, which would make columns of it, become underscores; the channel is always 1.
    """
    file = "_".join(name.split())
    return "".join(
        f"{file} 1 {word.start:.3f} {word.end - word.start:.3f} {word.text} {word.confidence:.3f}\n"
        for word in words
    )


def to_json(transcript: Transcript) -> str:
    """`{"text": ..., "words": [{"text", "start", "end", "confidence"}, ...]}`, times in seconds."""
    words = [
        {
            name: round(value, 3) if isinstance(value, float) else value
            for name, value in asdict(word).items()
            if name != "characters"
        }
        for word in transcript.words
    ]
    return json.dumps({"text": transcript.text, "words": words}, ensure_ascii=False, indent=1) + "\n"


def text(transcript: Transcript) -> str:
    """The lines of the subtitles without their times."""
    return "".join(f"{_text(line)}\n" for line in lines(transcript.words))


def _shown(transcript: Transcript) -> Iterator[tuple[tuple[Word, ...], float, float]]:
    """Each line, and from when to when it is shown, in seconds."""
    grouped = list(lines(transcript.words))
    starts = [line[0].start for line in grouped]
    for line, (start, following) in zip(grouped, pairwise([*starts, inf]), strict=True):
        yield line, start, max(line[-1].end, min(start + SHOWN, following))


def _text(line: Sequence[Word]) -> str:
    return " ".join(word.text for word in line)


def _time(seconds: float, mark: str) -> str:
    """`01:02:03,456`, with that mark before the milliseconds."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{mark}{milliseconds % 1000:03}"
