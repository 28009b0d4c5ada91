"""Guards phone alignment: phones lie where the speech is, and clips that do not fit are skipped."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from sonorant.asr import align as module
from sonorant.asr.align import AlignmentError, align
from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.data.text import normalize

pytest.importorskip("pocketsphinx")

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech"
VOWELS = {"AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"}
STOPS = {"B", "CH", "D", "G", "JH", "K", "P", "T"}
OTHERS = {"DH", "F", "HH", "L", "M", "N", "NG", "R", "S", "SH", "TH", "V", "W", "Y", "Z", "ZH"}


@pytest.fixture(scope="module")
def english():
    clips = {clip.id: clip for clip in read(SPEECH / "manifest.jsonl") if clip.language == "en"}
    names = ["conf-hasjoin", "conf-unlockednow", "queue-holdtime", "vm-nonumber", "one-moment-please"]
    return [clips[f"ast-en-{name}"] for name in names]


@pytest.fixture(scope="module")
def result(english):
    return align(english, processes=1)


@pytest.fixture(scope="module")
def aligned(result):
    assert not result.skipped
    return result.clips


def changed(clip, **values):
    return msgspec.structs.replace(clip, **values)


def test_phones_are_those_of_the_words_in_order(english, aligned):
    clip = next(clip for clip in aligned if clip.id == "ast-en-conf-unlockednow")
    said = " ".join(label for label, _, _ in clip.units)
    assert said.endswith("K AA N F ER AH N S IH Z N AW AH N L AA K T")
    for before, after in zip(english, aligned, strict=True):
        assert changed(after, units=None) == before
        assert {label for label, _, _ in after.units} <= VOWELS | STOPS | OTHERS
        edges = [edge for _, start, end in after.units for edge in (start, end)]
        assert edges == sorted(edges)
        assert 0 <= edges[0] < edges[-1] <= after.seconds
        assert min(end - start for _, start, end in after.units) > 0.025


def test_phones_lie_where_the_speech_is(aligned):
    for clip in aligned:
        power = load(clip, 16000) ** 2
        inside = np.zeros(len(power), dtype=bool)
        for _, start, end in clip.units:
            inside[round(start * 16000) : round(end * 16000)] = True
        assert power[inside].sum() > 0.95 * power.sum()


def test_words_are_those_of_the_text_and_last_as_long_as_their_phones(english, result):
    assert set(result.words) == {clip.id for clip in english}
    for clip in result.clips:
        words = result.words[clip.id]
        assert [label for label, _, _ in words] == normalize(clip.text).split()
        starts, ends = ({unit[place] for unit in clip.units} for place in (1, 2))
        assert {start for _, start, _ in words} <= starts
        assert {end for _, _, end in words} <= ends
        inside = [sum(start <= unit[1] < end for unit in clip.units) for _, start, end in words]
        assert min(inside) >= 1
        assert sum(inside) == len(clip.units)
    unlocked = result.words["ast-en-conf-unlockednow"][-1]
    phones = next(clip.units for clip in result.clips if clip.id == "ast-en-conf-unlockednow")
    assert [label for label, start, _ in phones if start >= unlocked[1]] == ["AH", "N", "L", "AA", "K", "T"]


def test_silence_in_front_moves_the_phones_by_its_length(tmp_path, aligned):
    clip = aligned[0]
    silence = np.random.default_rng(0).normal(0, 1e-4, 8000)
    soundfile.write(tmp_path / "late.flac", np.concatenate([silence, load(clip, 16000)]), 16000)
    late = changed(clip, path=str(tmp_path / "late.flac"), samples=0, units=None)
    found = align([late], processes=1).clips[0].units
    assert [label for label, _, _ in found] == [label for label, _, _ in clip.units]
    shifts = np.array([new[1] - old[1] for new, old in zip(found, clip.units, strict=True)])
    assert abs(np.median(shifts) - 0.5) <= 0.02


def test_neither_order_nor_processes_matter(english, aligned):
    told = []
    backwards = align(english[::-1], processes=2, progress=lambda *numbers: told.append(numbers))
    assert backwards.clips[::-1] == aligned
    assert told == [(number, len(english)) for number in range(1, len(english) + 1)]


def test_strange_clips_are_skipped_with_the_reason(tmp_path, english):
    clip = english[0]
    soundfile.write(tmp_path / "short.flac", np.zeros(100), 16000)
    strange = [
        changed(clip, id="silent", text=None),
        changed(clip, id="signs", text="... !"),
        changed(clip, id="foreign", text="is now in the floda almaxaquottl"),
        changed(clip, id="missing", path=str(tmp_path / "missing.flac")),
        changed(clip, id="short", path=str(tmp_path / "short.flac"), samples=0),
        changed(clip, id="long", text=" ".join([clip.text] * 9)),
        changed(clip, id="other", text="we strongly advise against purple elephants"),
        clip,
    ]
    result = align(strange, processes=1)
    assert [each.id for each in result.clips] == [clip.id]
    assert result.skipped["silent"] == result.skipped["signs"] == "no text"
    assert result.skipped["foreign"] == "not in the dictionary: floda almaxaquottl"
    assert result.skipped["missing"].startswith("audio: ")
    assert result.skipped["short"].startswith("no alignment")
    assert result.skipped["long"].startswith(("no alignment", "implausible"))
    assert result.skipped["other"].startswith(("no alignment", "implausible"))


def test_most_texts_of_other_clips_are_refused(english):
    wrong = [
        changed(clip, id=f"{clip.id} {other.id}", text=other.text)
        for clip in english
        for other in english
        if clip is not other
    ]
    refused = align(wrong, processes=1).skipped.values()
    assert len(refused) >= 0.8 * len(wrong)
    assert sum(reason.startswith("implausible: the score") for reason in refused) > 2
    assert sum(reason.endswith("as short as a phone can be") for reason in refused) > 2


def test_a_phone_that_never_ends_is_implausible(tmp_path, english, aligned):
    _, start, end = next(unit for unit in aligned[0].units if unit[0] == "ER")
    wave, middle = load(english[0], 16000), round((start + end) / 2 * 16000)
    drawn = np.concatenate([wave[:middle], np.tile(wave[middle - 800 : middle + 800], 16), wave[middle:]])
    soundfile.write(tmp_path / "drawn.flac", drawn, 16000)
    clip = changed(english[0], path=str(tmp_path / "drawn.flac"), samples=0)
    (reason,) = align([clip], processes=1).skipped.values()
    assert reason.startswith("implausible: ER lasts 1.")


def test_words_have_their_apostrophes_or_not(english):
    clip = changed(english[0], text="'is' now in the conference'")
    assert align([clip], processes=1).clips[0].units == align([english[0]], processes=1).clips[0].units


def test_without_pocketsphinx_the_way_out_is_named(monkeypatch, english):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(AlignmentError, match=r"sonorant\[align\]"):
        align(english)
