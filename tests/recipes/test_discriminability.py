"""Guards the way from features and phones to ABX rows, and what is said of corpora that do not allow all."""

import random

import msgspec
import pytest

from sonorant.data.manifest import read, write
from sonorant.evaluate.rows import read_rows


@pytest.fixture(scope="module")
def features(place, sonorant, speech):
    out = place / "log-mel-abx"
    assert sonorant("extract", "log-mel", speech, "--out", out, "-q").code == 0
    return out


@pytest.fixture(scope="module")
def phones(place, speech):
    """A manifest with made-up phones for so many speakers; no speaker at all for 0."""

    def made(speakers):
        clips = []
        for number, clip in enumerate(read(speech)[:24]):
            length, spoken = clip.seconds / 12, random.Random(number).choices("abc", k=12)
            units = [(label, i * length, (i + 1) * length) for i, label in enumerate(spoken)]
            speaker = f"s{number % speakers}" if speakers else None
            clips.append(msgspec.structs.replace(clip, units=units, speaker=speaker))
        path = place / f"phones-{speakers}.jsonl"
        write(path, clips)
        return path

    return made


def test_rows_within_and_across_speakers(features, phones, tmp_path, sonorant):
    rows = tmp_path / "rows.jsonl"
    done = sonorant("abx", features, "--manifest", phones(3), "--limit", 4, "--out", rows, "--json")
    assert (done.code, done.err) == (0, "")
    assert [row["task"] for row in done.json] == [
        "ABX triphone, within speakers, interval over clips",
        "ABX triphone, across speakers, interval over clips",
    ]
    for row in done.json:
        assert (row["subject"], row["metric"], row["n"]) == ("log-mel-abx frontend", "error rate", 24)
        assert 0.2 < row["low"] < row["value"] < row["high"] < 0.8  # made-up phones: chance
    assert [msgspec.to_builtins(row) for row in read_rows(rows)] == done.json
    drawn = sonorant("abx", features, "--manifest", phones(3), "--limit", 2, "--json").json
    assert drawn[0]["value"] != done.json[0]["value"]


@pytest.mark.parametrize(
    ("speakers", "told"),
    [
        (1, "one speaker (s0): within speakers only"),
        (0, "no clip names a speaker: all count as one, within speakers only"),
    ],
)
def test_one_speaker_is_said_in_one_line(speakers, told, features, phones, sonorant):
    done = sonorant("abx", features, "--manifest", phones(speakers), "--items", "any", "--limit", 5)
    assert (done.code, done.err) == (0, f"{features}: {told}\n")
    assert "ABX phone in any context, within speakers" in done.out
    assert "across" not in done.out


def test_what_is_not_possible_is_told_in_one_line(features, phones, tmp_path, sonorant):
    words = ["abx", features, "--manifest", phones(1)]
    assert "items: 'words' is not known" in sonorant(*words, "--items", "words").line
    assert "distance: 'cosine' is not known" in sonorant(*words, "--distance", "cosine").line
    assert "kl: frames are not probabilities" in sonorant(*words, "--distance", "kl").line
    (clip, *_) = read(phones(1))
    lonely = tmp_path / "lonely.jsonl"
    write(lonely, [msgspec.structs.replace(clip, units=clip.units[:3])])
    done = sonorant("abx", features, "--manifest", lonely)
    assert done.code == 2
    assert "1 items, no triple within speakers (more speech, or phones in any context)" in done.line
