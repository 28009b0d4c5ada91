"""Guards the files that transcripts become: their exact form, and the limits of a line of subtitles."""

import itertools
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonorant.asr.decode import Word
from sonorant.asr.subtitles import ctm, lines, srt, text, to_json, vtt
from sonorant.asr.transcribe import Transcript

TRANSCRIPT = Transcript(
    (
        Word("you", 0.5, 0.64, 0.9),
        Word("couldn't", 0.7, 1.1, 0.8),
        Word("pilot", 1.2, 1.5, 0.7),
        Word("your", 1.52, 1.7, 0.9),
        Word("way", 1.8, 1.98, 0.9),
        Word("out", 2.0, 2.2, 0.9),
        Word("of", 2.3, 2.4, 0.9),
        Word("a", 2.5, 2.52, 0.9),
        Word("paper", 2.6, 2.8, 0.9),
        Word("bag", 2.9, 3.1999, 0.9),
        Word("été", 3725.0, 3725.04, 0.123456),
    )
)

SRT = """\
1
00:00:00,500 --> 00:00:02,800
you couldn't pilot your way out of a paper

2
00:00:02,900 --> 00:00:03,900
bag

3
01:02:05,000 --> 01:02:06,000
été
"""

quick = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
words = st.lists(
    st.tuples(st.text("ab", min_size=1, max_size=60), st.floats(0, 3), st.floats(0, 9)), max_size=12
).map(
    lambda parts: [
        Word(part, sum(a + b for _, a, b in parts[:n]) + gap, sum(a + b for _, a, b in parts[: n + 1]), 1.0)
        for n, (part, gap, _) in enumerate(parts)
    ]
)


def test_srt():
    assert srt(TRANSCRIPT) == SRT
    assert srt(Transcript(())) == ""


def test_vtt_has_the_times_of_srt_and_escapes_what_would_be_a_tag():
    expected = re.sub(r"(\d\d),(\d{3})", r"\1.\2", re.sub(r"^\d+\n", "", SRT, flags=re.MULTILINE))
    assert vtt(TRANSCRIPT) == f"WEBVTT\n\n{expected}"
    assert vtt(Transcript(())) == "WEBVTT\n"
    assert "a&lt;b &amp; c --&gt;" in vtt(Transcript((Word("a<b & c -->", 0.0, 1.0, 1.0),)))


def test_ctm_has_six_columns():
    rows = ctm(TRANSCRIPT.words, "my talk/part 1").splitlines()
    assert rows[0] == "my_talk/part_1 1 0.500 0.140 you 0.900"
    assert rows[-1] == "my_talk/part_1 1 3725.000 0.040 été 0.123"
    assert len(rows) == len(TRANSCRIPT.words)
    assert all(len(row.split(" ")) == 6 for row in rows)


def test_text():
    assert text(TRANSCRIPT) == "you couldn't pilot your way out of a paper\nbag\nété\n"


def test_json():
    content = json.loads(to_json(TRANSCRIPT))
    assert content["text"] == TRANSCRIPT.text
    assert content["words"][-1] == {"text": "été", "start": 3725.0, "end": 3725.04, "confidence": 0.123}
    assert len(content["words"]) == len(TRANSCRIPT.words)


@quick
@given(words)
def test_lines_keep_every_word_and_their_limits(said):
    grouped = list(lines(said))
    assert [word for line in grouped for word in line] == said
    for line in grouped:
        if len(line) > 1:
            assert len(" ".join(word.text for word in line)) <= 42
            assert line[-1].end - line[0].start <= 7
            assert all(after.start - before.end <= 1 for before, after in itertools.pairwise(line))


@quick
@given(words)
def test_subtitles_do_not_overlap_and_take_time_to_be_read(said):
    blocks = [block for block in srt(Transcript(tuple(said))).split("\n\n") if block]
    times = [[_seconds(part) for part in block.split("\n")[1].split(" --> ")] for block in blocks]
    for (start, end), (following, _) in itertools.pairwise([*times, (float("inf"), 0)]):
        assert start <= end <= following
        assert end - start >= min(0.999, following - start - 0.001)


def _seconds(stamp):
    hours, minutes, seconds = stamp.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


@pytest.mark.parametrize("seconds", [0.9996, 59.9999, 3599.9999])
def test_times_round_to_whole_seconds_as_one(seconds):
    shown = srt(Transcript((Word("a", seconds, seconds + 2, 1.0),))).split("\n")[1]
    assert _seconds(shown.split(" --> ")[0]) == round(seconds)
