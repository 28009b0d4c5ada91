"""Guards the readers of benchmark corpora: tiny folders like them, and the labels that tasks read."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonorant import corpora
from sonorant.config import ConfigError
from sonorant.data.entries import CorpusError
from sonorant.data.labels import renamed
from sonorant.data.manifest import Clip
from sonorant.task import find, given

SPEECH = Path(__file__).parents[1] / "fixtures/speech"
NAMES = ("ast-en-conf-hasjoin", "ast-en-time", "ast-en-disabled")


def put(folder, *names):
    """A recording in each of these places."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        source = SPEECH / f"{NAMES[number % 3]}.flac"
        if path.suffix == ".flac":
            shutil.copyfile(source, path)
        else:
            soundfile.write(path, *soundfile.read(source))


def listing(folder, layout):
    """The clips by id when the layout is detected."""
    assert corpora.detect(folder) == layout
    return {clip.id: clip for clip in corpora.read(folder, out=folder / "out").clips}


def test_speech_commands(tmp_path):
    names = ["yes/a1_nohash_0.wav", "yes/b2_nohash_0.wav", "no/a1_nohash_1.wav", "bed/c3_nohash_0.wav"]
    put(tmp_path, *names)
    noise = tmp_path / "_background_noise_/hum.wav"
    noise.parent.mkdir()
    soundfile.write(noise, np.random.default_rng(0).normal(0, 0.1, 16000 * 20 + 50), 16000)
    (tmp_path / "validation_list.txt").write_text("yes/b2_nohash_0.wav\n")
    (tmp_path / "testing_list.txt").write_text("no/a1_nohash_1.wav\n")
    clips = listing(tmp_path, "speech_commands")
    told = {
        name: (clip.labels["keyword"], clip.labels["split"], clip.speaker) for name, clip in clips.items()
    }
    assert told[names[0]] == ("yes", "train", "a1")
    assert told[names[1]] == ("yes", "validation", "b2")
    assert told[names[2]] == ("no", "test", "a1")
    assert told[names[3]] == ("_unknown_", "train", "c3")
    silence = [clip for clip in clips.values() if clip.labels["keyword"] == "_silence_"]
    assert [clip.start for clip in silence] == [16000 * second for second in range(20)]
    assert {clip.samples for clip in silence} == {16000}
    splits = [clip.labels["split"] for clip in silence]
    assert [splits.count(part) for part in ("train", "validation", "test")] == [16, 2, 2]
    assert all(find("ks").takes(clip) for clip in clips.values())


def test_fluent_speech_commands(tmp_path):
    put(tmp_path, "wavs/speakers/s1/x.wav", "wavs/speakers/s2/y.wav", "wavs/speakers/s3/z.wav")
    header = ",path,speakerId,transcription,action,object,location\n"
    for name, row in (
        ("train", '0,wavs/speakers/s1/x.wav,s1,"Lights on, please",activate,lights,kitchen'),
        ("valid", "0,wavs/speakers/s2/y.wav,s2,Louder,increase,volume,none"),
        ("test", "0,wavs/speakers/s3/z.wav,s3,Stop,deactivate,music,none"),
    ):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / f"data/{name}_data.csv").write_text(f"{header}{row}\n")
    clips = listing(tmp_path, "fluent_speech_commands")
    clip = clips["wavs/speakers/s1/x"]
    assert (clip.speaker, clip.text) == ("s1", "Lights on, please")
    assert dict(find("ic").slots(clip)) == {
        "intent.action": "activate",
        "intent.object": "lights",
        "intent.location": "kitchen",
    }
    assert given(list(clips.values())).test == ("wavs/speakers/s3/z",)


def test_voxceleb(tmp_path):
    names = ["wav/id10001/v1/00001.wav", "wav/id10001/v2/00001.wav", "wav/id10270/v3/00002.wav"]
    put(tmp_path, *names, "wav/other/v/1.wav")
    clips = listing(tmp_path, "voxceleb")
    assert {name: clip.speaker for name, clip in clips.items()} == {
        "id10001/v1/00001": "id10001",
        "id10001/v2/00001": "id10001",
        "id10270/v3/00002": "id10270",
    }
    (tmp_path / "iden_split.txt").write_text(
        "1 id10001/v1/00001.wav\n3 id10001/v2/00001.wav\n2 id10270/v3/00002.wav\n"
    )
    splits = [clip.labels["split"] for clip in listing(tmp_path, "voxceleb").values()]
    assert splits == ["train", "test", "validation"]
    (tmp_path / "iden_split.txt").write_text("4 id10001/v1/00001.wav\n")
    with pytest.raises(CorpusError, match=r"iden_split\.txt:1: '4 id10001"):
        corpora.read(tmp_path, out=tmp_path)


def test_iemocap(tmp_path):
    for session in (1, 2):
        base = f"Session{session}"
        turn = f"Ses0{session}F_impro01"
        put(tmp_path, *(f"{base}/sentences/wav/{turn}/{turn}_{who}.wav" for who in ("F000", "M000", "F001")))
        evaluations = tmp_path / base / "dialog/EmoEvaluation"
        evaluations.mkdir(parents=True)
        (evaluations / f"{turn}.txt").write_text(
            "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
            f"[6.29 - 8.23]\t{turn}_F000\tneu\t[2.5, 2.5, 2.5]\nC-E2:\tNeutral;\t()\n\n"
            f"[8.29 - 9.23]\t{turn}_M000\texc\t[2.5, 2.5, 2.5]\n"
            f"[9.29 - 9.93]\t{turn}_F001\txxx\t[2.5, 2.5, 2.5]\n"
        )
        (tmp_path / base / "dialog/transcriptions").mkdir()
        (tmp_path / base / f"dialog/transcriptions/{turn}.txt").write_text(
            f"{turn}_F000 [006.2901-008.2357]: Excuse me.\n"
        )
    clips = listing(tmp_path, "iemocap")
    assert len(clips) == 6
    first, second = clips["Ses01F_impro01_F000"], clips["Ses01F_impro01_M000"]
    assert (first.labels, first.speaker, first.text) == (
        {"fold": "1", "emotion": "neu"},
        "Ses01F",
        "Excuse me.",
    )
    assert (second.labels, second.speaker) == ({"fold": "1", "emotion": "hap"}, "Ses01M")
    used = [clip for clip in clips.values() if find("er").takes(clip)]
    assert len(used) == 4
    assert [len(each.test) for each in find("er").parts(used)] == [2, 2]


def test_snips(tmp_path):
    put(tmp_path, "train/Amy-snips-train-0.wav", "test/Joey-snips-test-7.wav", "test/Joey-snips-test-8.wav")
    (tmp_path / "all.iob.snips.txt").write_text(
        "Amy-snips-train-0 BOS play the beatles EOS\tO O B-artist I-artist PlayMusic\n"
        "Joey-snips-test-7 BOS stop EOS\tO O PlayMusic\n"
    )
    found = corpora.read(tmp_path, out=tmp_path)
    assert corpora.detect(tmp_path) == "snips"
    first, second = found.clips
    assert (first.text, first.speaker) == ("play the beatles", "Amy")
    assert first.labels == {"iob": "O B-artist I-artist", "intent": "PlayMusic", "split": "train"}
    assert second.labels["split"] == "test"
    assert [Path(each.path).stem for each in found.skipped] == ["Joey-snips-test-8"]
    assert all(find("sf").takes(clip) for clip in found.clips)
    (tmp_path / "all.iob.snips.txt").write_text("Amy-snips-train-0 BOS play it EOS\tO O PlayMusic\n")
    with pytest.raises(CorpusError, match="Amy-snips-train-0: 3 tags for 2 words"):
        corpora.read(tmp_path, out=tmp_path)


def test_quesst(tmp_path):
    put(tmp_path, "Audio/doc_1.wav", "Audio/doc_2.wav", "dev_queries/q_1.wav", "eval_queries/q_2.wav")
    truth = tmp_path / "scoring/groundtruth_quesst14_dev"
    truth.mkdir(parents=True)
    (truth / "quesst14_dev.rttm").write_text(
        "LEXEME doc_1 1 0.0 1.0 q_1 lex\nLEXEME doc_2 1 0.0 1.0 NO_KEYWORD lex\nSPEAKER doc_2 1 0 1 q_1\n"
    )
    clips = listing(tmp_path, "quesst")
    labels = {name: clip.labels for name, clip in clips.items()}
    assert labels == {
        "doc_1": {"terms": "q_1"},
        "doc_2": {"terms": "-"},
        "q_1": {"query": "q_1", "split": "validation"},
        "q_2": {"query": "q_2", "split": "test"},
    }
    (parts,) = find("qbe").parts(list(clips.values()))
    assert (parts.train, parts.validation, parts.test) == (("doc_1", "doc_2"), ("q_1",), ("q_2",))


def test_libri2mix(tmp_path):
    part = tmp_path / "wav16k/max/dev"
    name = "1272-1-0001_84-2-0002.wav"
    put(part, f"s1/{name}", f"s2/{name}", f"mix_clean/{name}", "mix_clean/9-1-1_8-1-1.wav")
    found = corpora.read(tmp_path, out=tmp_path)
    assert corpora.detect(tmp_path) == "libri2mix"
    (clip,) = found.clips
    assert clip.labels == {"mixture": "2", "split": "dev"}
    assert {speaker for speaker, _, _ in clip.units} == {"1272", "84"}
    assert len(found.skipped) == 1
    assert find("sd").takes(clip)
    assert find("sd").made([clip], tmp_path) == [clip]


def test_any_table_with_a_header(tmp_path):
    put(tmp_path, "a.wav", "below/b.wav", "c.wav")
    (tmp_path / "manifest.tsv").write_text(
        "file\tsplit\tspeaker\tlabel\ttext\n"
        "a.wav\ttrain\tann\tyes\tYes.\nbelow/b.wav\tval\t?\tsize=small;roast=dark\t-\nc.wav\t-\tbob\t\t\n"
    )
    clips = listing(tmp_path, "table")
    assert (clips["a"].speaker, clips["a"].text) == ("ann", "Yes.")
    assert clips["a"].labels == {"split": "train", "label": "yes"}
    assert (clips["below/b"].speaker, clips["below/b"].text) == (None, None)
    assert clips["below/b"].labels == {"split": "val", "label.size": "small", "label.roast": "dark"}
    assert clips["c"].labels is None
    (tmp_path / "manifest.tsv").write_text("name\tlabel\nx\ty\n")
    with pytest.raises(CorpusError, match=r"manifest\.tsv:1: no column file, path, .*, but name, label"):
        corpora.read(tmp_path, out=tmp_path)
    other = tmp_path / "list.csv"
    other.write_text('path,keyword\na.wav,"yes, please"\n')
    assert corpora.detect(other) == "table"
    assert corpora.read(other, out=tmp_path).clips[0].labels == {"keyword": "yes, please"}


def test_labels_are_renamed():
    clips = [
        Clip("a", "a.wav", labels={"label": "yes", "x": "1"}),
        Clip("b", "b.wav", labels={"label.size": "small"}),
        Clip("c", "c.wav"),
    ]
    found = renamed(clips, ["intent=label", "text=x"])
    assert [clip.labels for clip in found] == [{"intent": "yes"}, {"intent.size": "small"}, None]
    assert found[0].text == "1"
    with pytest.raises(
        ConfigError, match=r"'word' is not a label of any clip; there are label, label\.size, x"
    ):
        renamed(clips, ["keyword=word"])
    with pytest.raises(ConfigError, match="expected NAME=LABEL"):
        renamed(clips, ["keyword"])
