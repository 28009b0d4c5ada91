"""Guards pseudo-labels: what is written is what was heard, the surest is kept, and training takes it."""

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import torch

from sonorant.asr.decode import Token, words
from sonorant.asr.transcribe import Recogniser
from sonorant.asr.vocabulary import Vocabulary
from sonorant.config import ConfigError
from sonorant.data.manifest import Clip, read, write
from sonorant.recipes.labelling import chosen, histogram, label, picture, spelled, summary, sureness, worth
from sonorant.recipes.recognise import load_recogniser, recognise
from sonorant.train.log import read_metrics
from sonorant.types import Padded

VOCABULARY = Vocabulary(tuple("abc"))


def told(text, *confidence):
    return Clip(text or "none", "a.wav", samples=160, rate=16000, text=text, confidence=list(confidence))


def test_a_text_has_the_confidence_of_each_of_its_characters():
    labels = ((1, 0.9), (2, 0.8), (1, 0.1), (1, 0.2), (3, 0.7), (4, 0.6), (1, 0.3))
    found = list(words((Token(label, 0, 1, score) for label, score in labels), VOCABULARY, 1.0))
    assert spelled(found) == ("a bc", [0.8, 0.7, 0.7, 0.6])
    assert spelled([]) == ("", [])


def test_the_surest_are_kept_in_their_order():
    clips = [told("aa", 0.9, 0.4), told("b", 0.7), told("", *()), told("c", 0.6), told("cc", 0.5, 0.5)]
    assert [sureness(clip) for clip in clips] == pytest.approx([0.6, 0.7, 0, 0.6, 0.5])

    def names(keep=None, minimum=None):
        return [clip.text for clip in chosen(clips, keep=keep, minimum=minimum)]

    assert names() == ["aa", "b", "c", "cc"]
    assert names(keep=0.4) == ["aa", "b"]
    assert names(keep=0.6) == ["aa", "b", "c"]
    assert names(keep=1) == ["aa", "b", "c", "cc"]
    assert names(minimum=0.65) == ["b"]


@pytest.fixture
def oracle():
    """A recogniser that writes `ab` into the first frames, sure of `a` and not of `b`, and a clip for it."""

    class Framing:
        rate, stride = 16000, 160

        def frames(self, samples):
            return samples // 160

    def log_probabilities(inputs):
        lengths = inputs.lengths // 160
        values = torch.full((len(lengths), int(lengths.max()), 5), 1e-4)
        values[..., 0] = 0.9
        values[:, 1] = torch.tensor([0.01, 0.01, 0.96, 0.01, 0.01])
        values[:, 3] = torch.tensor([0.2, 0.1, 0.1, 0.5, 0.1])
        return Padded(values.log(), lengths)

    return Recogniser(log_probabilities, Framing(), VOCABULARY)


def test_references_tell_what_confidences_are_worth(oracle, few):
    clips = [msgspec.structs.replace(clip, text="A, a!") for clip in read(few)[:4]]
    clips[3] = msgspec.structs.replace(clips[3], text=None)
    labels = label(clips, oracle, keep=0.5)
    assert [(clip.text, clip.confidence) for clip in labels.clips] == [("ab", [0.96, 0.5])] * 4
    assert labels.kept == labels.clips[:2]
    assert set(labels.references.values()) == {"a a"}
    found = summary(labels)
    assert (found["clips"], found["kept"], found["share kept"]) == (4, 2, 0.5)
    assert found["mean confidence"] == pytest.approx((0.96 * 0.5) ** 0.5, abs=1e-4)
    assert (found["CER"], found["CER kept"]) == (0.6667, 0.6667)
    assert (found["AUROC"], found["AUROC low"], found["AUROC high"]) == (1, 1, 1)
    assert (found["confidence of correct characters"], found["confidence of wrong characters"]) == (0.96, 0.5)
    rows = histogram(labels)
    assert [row["clips"] for row in rows] == [0] * 6 + [4] + [0] * 3
    assert "0.6 to 0.7        4  ##############################  CER 66.7%" in picture(rows)
    assert list(worth(found)) == ["2 of 4 clips are kept, 0.1 min, 69% sure, CER kept 66.7%, AUROC 1.000"]
    silent = [msgspec.structs.replace(clip, text=None) for clip in clips]
    unknown = label(silent, oracle)
    assert not {"CER", "AUROC"} & summary(unknown).keys()
    unsure = [msgspec.structs.replace(clip, confidence=[0.2, 0.3]) for clip in unknown.clips]
    line, warning = worth(summary(replace(unknown, clips=unsure)))
    assert line.endswith("69% sure")
    assert "hardly more than guesses (24% sure over all): train what writes them for longer" in warning
    for wrong, cause in (
        ({"keep": 0.5, "minimum": 0.5}, "give one of them"),
        ({"minimum": 0.9}, "none of 4 clips"),
    ):
        with pytest.raises(ConfigError, match=cause):
            label(clips, oracle, **wrong)


def test_labels_say_what_transcribing_says_also_of_long_clips(finetuned, few, monkeypatch):
    monkeypatch.setattr("sonorant.recipes.recognise.LONG", 1.5)
    recogniser, clips = load_recogniser(finetuned), read(few)
    hypotheses, _ = recognise(clips, recogniser)
    labels = label(clips, recogniser)
    assert [clip.text for clip in labels.clips] == [each.hypothesis for each in hypotheses]
    assert {clip.seconds > 1.5 for clip in labels.kept} == {True, False}


def test_the_command_writes_a_manifest_that_training_takes(tmp_path, sonorant, finetuned, few, tuning):
    out = tmp_path / "labels" / "pseudo.jsonl"
    done = sonorant("label", finetuned, few, "--keep", "0.5", "--out", out, "--json")
    assert done.code == 0
    found = done.json
    clips = read(out)
    assert (found["clips"], found["kept"], len(clips), sum(row["clips"] for row in found["histogram"])) == (
        40,
        20,
        20,
        40,
    )
    assert all(clip.text and len(clip.confidence) == len(clip.text) for clip in clips)
    assert found["mean confidence kept"] == pytest.approx(
        np.mean([sureness(clip) for clip in clips]), abs=2e-4
    )
    words = [*tuning, f"pseudo.manifest={out}", f"out={tmp_path / 'run'}"]
    trained = sonorant(*words)
    assert "20 pseudo-labelled, " in trained.err
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 6
    assert sonorant(*words, "pseudo.share=0.4").code == 2
    text = sonorant("label", finetuned, few, "--min-confidence", "0", "--lm", tmp_path / "none.arpa").line
    assert "none.arpa" in text


def test_rounds_are_folders_and_are_continued(tmp_path, sonorant, tuning, few, monkeypatch):
    speech = tmp_path / "speech.jsonl"
    write(speech, [msgspec.structs.replace(clip, text=None) for clip in read(few)[:20]])
    settings = [word for word in tuning[2:] if not word.startswith("data.manifest")]
    words = ["self-train", few, speech, *settings, "--out", tmp_path / "runs", "--keep", "0.5"]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sonorant.recipes.self_training.write", interrupted)
        stopped = sonorant(*words)
    assert stopped.code == 130
    assert "1. train on transcripts: about " in stopped.err
    assert "5. train on transcripts and labels: about " in stopped.err
    folder = tmp_path / "runs"
    weights = (folder / "round_0" / "step_0000006" / "objective.safetensors").read_bytes()
    done = sonorant(*words, "--json")
    assert done.code == 0, done.err
    assert done.json["best"] == str(folder / "round_2" / "step_0000006")
    assert (folder / "round_0" / "step_0000006" / "objective.safetensors").read_bytes() == weights
    written = [folder / f"round_{number}" / "pseudo.jsonl" for number in (1, 2)]
    for path in written:
        assert len(read(path)) == 10
        config = json.loads((path.parent / "step_0000006" / "config.json").read_text())
        assert config["pseudo"] == {"manifest": str(path), "share": 0.5}
    assert written[0].read_text() != written[1].read_text()
    made = [path.stat().st_mtime_ns for path in written]
    assert sonorant(*words, "-q").code == 0
    assert [path.stat().st_mtime_ns for path in written] == made
    again = sonorant(*words, "--rounds", "3").line
    assert "was begun with other settings: rounds was 2, now 3" in again


@pytest.mark.parametrize("processes", [1, 2])
def test_one_student_follows_and_is_followed(tmp_path, sonorant, tuning, few, processes):
    clips = read(few)[:20]
    written = tmp_path / "written.jsonl"
    write(written, [msgspec.structs.replace(clip, text="never to be read \u2603") for clip in clips])
    bare = tmp_path / "bare.jsonl"
    write(bare, [msgspec.structs.replace(clip, text=None) for clip in clips])
    settings = [word for word in tuning[2:] if not word.startswith("data.manifest")]
    settings = [*settings, f"train.processes={processes}", "--teacher", "ema"]
    weights = []
    for speech in (written, bare)[: 3 - processes]:
        out = tmp_path / speech.stem
        words = ["self-train", few, speech, *settings, "--out", out]
        done = sonorant(*words, "--json")
        assert done.code == 0, done.err
        assert "2. train with a teacher: about " in done.err
        best = out / "student" / "step_0000006"
        assert done.json["best"] == str(best)
        assert sonorant(*words, "-q").code == 0  # done, and says so by doing nothing
        weights.append((best / "objective.safetensors").read_bytes())
        rows = read_metrics(out / "student" / "metrics.jsonl")
        assert any("empty_labels" in row for row in rows)
        assert load_recogniser(best).decoder is None
    assert len(set(weights)) == 1


def test_what_a_teacher_has_no_place_for_is_named(tmp_path, sonorant, tuning, few):
    settings = [word for word in tuning[2:] if not word.startswith("data.manifest")]
    words = ["self-train", few, few, *settings, "--out", tmp_path / "runs", "--teacher"]
    assert "--rounds" in sonorant(*words, "ema", "--rounds", "3").line
    assert "teacher ema: needs ctc" in sonorant(*words, "ema", "objective.name=seq2seq").line
    assert "teacher" in sonorant(*words, "mean").line
