"""Guards the alignment of known texts with their audio by a recogniser."""

import re

import numpy as np
import pytest
import soundfile

from sonorant.data.manifest import read
from sonorant.data.text import normalize


@pytest.fixture
def chapter(tmp_path, sonorant, finetuned, clip):
    """A recording with the text that the recogniser hears in it, in two lines."""
    samples, rate = soundfile.read(clip.path)
    folder = tmp_path / "book"
    folder.mkdir()
    path = folder / "one.wav"
    soundfile.write(path, np.tile(samples, 2), rate)
    words = sonorant("transcribe", finetuned, path).out.split()
    assert len(words) > 1
    path.with_suffix(".txt").write_text(f"{words[0].upper()},\n{' '.join(words[1:])}.\n")
    return path


def test_a_file_is_aligned_with_the_text_beside_it(tmp_path, sonorant, finetuned, chapter):
    out, grids, ctm = tmp_path / "out" / "aligned.jsonl", tmp_path / "grids", tmp_path / "words.ctm"
    done = sonorant(
        *["align", chapter.parent, "--run", finetuned, "--out", out, "--textgrids", grids, "--ctm", ctm]
    )
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(
        r".*aligned.jsonl: 1 clips aligned, 0 skipped, scores (-[\d.]+) at worst, \1 in the middle\n",
        done.out,
    )
    (aligned,) = read(out)
    heard = sonorant("transcribe", finetuned, chapter, "--format", "json").json["words"]
    assert [label for label, _, _ in aligned.units] == [word["text"] for word in heard]
    # the transcript's spaces at its ends are no part of the text, or else the path would be the same
    same = [
        abs(word["start"] - start) < 0.002 for word, (_, start, _) in zip(heard, aligned.units, strict=True)
    ]
    assert np.mean(same) > 0.7
    rows = [row.split() for row in ctm.read_text().splitlines()]
    assert [(row[0], row[4]) for row in rows] == [("one", label) for label, _, _ in aligned.units]
    grid = (grids / "one.TextGrid").read_text()
    assert re.findall(r'name = "(\w+)"', grid) == ["words", "characters"]
    texts = re.findall(r'text = "(.+)"', grid)
    assert "".join(texts) == 2 * "".join(label for label, _, _ in aligned.units)


def test_a_manifest_may_get_the_times_of_characters(tmp_path, sonorant, finetuned, few):
    out = tmp_path / "aligned.jsonl"
    done = sonorant(
        *["align", few, "--run", finetuned, "--out", out, "--units", "characters", "--min-score", -9]
    )
    assert done.code == 0
    clips = {clip.id: clip for clip in read(few)}
    found = read(out)
    assert len(found) > 30
    for clip in found:
        assert (clip.text, clip.speaker) == (clips[clip.id].text, clips[clip.id].speaker)
        said = "".join(label for label, _, _ in clip.units)
        assert said == normalize(clip.text).replace(" ", "")
        edges = [edge for _, start, end in clip.units for edge in (start, end)]
        assert edges == sorted(edges)
        assert edges[-1] <= clip.seconds


def test_a_text_that_does_not_fit_is_told_with_its_score(tmp_path, sonorant, finetuned, chapter):
    fits = sonorant("align", chapter, "--run", finetuned, "--out", tmp_path / "x.jsonl").out
    words = chapter.with_suffix(".txt").read_text().lower().split()
    chapter.with_suffix(".txt").write_text(" ".join(word[::-1] for word in words[::-1]).replace(".", ""))
    good = float(re.search(r"scores (-[\d.]+)", fits)[1])
    done = sonorant("align", chapter, "--run", finetuned, "--min-score", good, "--out", tmp_path / "y.jsonl")
    assert (done.code, done.out) == (2, "")
    skipped, error = done.err.splitlines()
    found = re.fullmatch(rf"skipped one: the text does not fit: score (-[\d.]+), below {good:g}", skipped)
    assert float(found[1]) < good - 0.01
    assert error == "sonorant: nothing is aligned, 1 skipped (for the reasons above)"
    assert not (tmp_path / "y.jsonl").exists()


def test_what_cannot_be_aligned_is_named_and_the_others_are(tmp_path, sonorant, finetuned, chapter):
    texts = {
        "greek": "οκ\nmore ψ\n",
        "long": chapter.with_suffix(".txt").read_text() * 40,
        "silent": " \n",
        "latin": b"caf\xe9",
        "broken": "a",
    }
    for name, text in texts.items():
        path = chapter.with_name(f"{name}.wav")
        path.write_bytes(chapter.read_bytes() if name != "broken" else b"no audio " * 99)
        path.with_suffix(".txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    chapter.with_name("alone.wav").write_bytes(chapter.read_bytes())
    done = sonorant("align", chapter.parent, "--run", finetuned, "--out", tmp_path / "aligned.jsonl")
    assert done.code == 0
    assert [clip.id for clip in read(tmp_path / "aligned.jsonl")] == ["one"]
    reasons = dict(line.removeprefix("skipped ").split(": ", 1) for line in done.err.splitlines())
    assert set(reasons) == {*texts, "alone"}
    assert reasons["greek"] == (
        "the recogniser cannot spell: 'οκ' in line 1, 'ψ' in line 2 (write them otherwise)"
    )
    assert re.match(r"the text is too long for the audio: \d+ labels need \d+ frames", reasons["long"])
    assert reasons["silent"] == "no text"
    assert "latin.txt: not UTF-8 at byte 3" in reasons["latin"]
    assert "not audio" in reasons["broken"]
    assert reasons["alone"] == f"no text: there is no {chapter.with_name('alone.txt')}"


def test_wrong_options_are_told(sonorant, finetuned, chapter, tmp_path):
    for words, told in (
        (["--run", finetuned, "--units", "syllables"], "units: 'syllables' is not one of words, characters"),
        (["--units", "characters"], "units: 'characters' is not one of phones, words"),
        (["--ctm", tmp_path / "x.ctm"], "ctm: needs confidences (give a recogniser: --run RUN)"),
    ):
        done = sonorant("align", chapter, *words)
        assert (done.code, told in done.line) == (2, True)


def test_without_a_recogniser_phones_and_words_are_found_by_pocketsphinx(tmp_path, sonorant, speech):
    pytest.importorskip("pocketsphinx")
    clip = next(clip for clip in read(speech) if clip.id == "ast-en-conf-unlockednow")
    path, out, grids = tmp_path / "said.wav", tmp_path / "phones.jsonl", tmp_path / "grids"
    soundfile.write(path, *soundfile.read(clip.path))
    path.with_suffix(".txt").write_text(clip.text)
    done = sonorant("align", path, "--out", out, "--textgrids", grids, "--processes", 1)
    assert (done.code, done.out) == (0, f"{out}: 1 clips aligned, 0 skipped\n")
    phones = [label for label, _, _ in read(out)[0].units]
    assert phones[:2] == ["DH", "AH"]
    words = ["the", "conference", "is", "now", "unlocked"]
    assert re.findall(r'text = "(.+)"', (grids / "said.TextGrid").read_text()) == words + phones
    assert sonorant("align", path, "--out", out, "--units", "words", "--processes", 1).code == 0
    assert [label for label, _, _ in read(out)[0].units] == words
