"""Guards complementary joint training as a command: stages that are kept, resumed and can be left out."""

import json
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from sonorant.config import convert
from sonorant.data.label_masks import LabelMaskConfig, label_mask
from sonorant.data.manifest import Clip, read, write
from sonorant.recipes import cjt, unpaired
from sonorant.recipes.recogniser import load_network
from sonorant.train import checkpoint
from sonorant.train.log import read_metrics

FAKE = Path(__file__).parents[1] / "fixtures" / "fake_tts.py"
TTS = f"{sys.executable} -I -S {FAKE} {{out}} {{text}}"
TEXT = "Please try again.\nThe line is busy.\n\nOne moment, please.\nWe are not here.\n"
STAGES = ["seed", "pseudo.jsonl", "synthetic.jsonl", "joint", "pseudo_2.jsonl", "joint_2"]
TRAINED = "step_0000004"


@pytest.fixture(scope="module")
def parts(tmp_path_factory, speech):
    """English clips: transcribed ones, others (with texts that only tell errors), and a text."""
    folder = tmp_path_factory.mktemp("parts")
    english = [clip for clip in read(speech) if "-en-" in clip.id or clip.id.startswith("ast-en")]
    write(folder / "paired.jsonl", english[:18])
    write(folder / "speech.jsonl", english[14:])
    (folder / "text.txt").write_text(TEXT)
    return folder


@pytest.fixture(scope="module")
def words(place, parts, pretrained):
    """The words of the command but for --out."""
    small = ["train.steps=4", "train.log_every=1", "train.checkpoint_every=2", "train.keep=1"]
    decoder = "objective.decoder={dim: 16, layers: 1, heads: 2, feedforward: 16, dropout: 0.1}"
    settings = ["data.batch_seconds=8", "data.workers=0", "train.minutes=null", decoder, *small]
    data = [
        "--paired",
        parts / "paired.jsonl",
        "--speech",
        parts / "speech.jsonl",
        "--text",
        parts / "text.txt",
    ]
    return [
        "cjt",
        *data,
        "--config",
        "seq2seq",
        "--tts",
        TTS,
        f"pretrained={pretrained}",
        "objective.freeze_context=1",
        *settings,
    ]


@pytest.fixture
def timeless(monkeypatch):
    monkeypatch.setattr(cjt, "_learning_minutes", lambda *rest: {"train": 1.0, "label": 0.5})


def without(words, *options):
    found = list(words)
    for option in options:
        place = found.index(option)
        del found[place : place + 2]
    return found


@pytest.fixture(scope="module")
def whole(place, sonorant, words):
    """A finished run."""
    folder = place / "cjt"
    done = sonorant(*words, "--mask", "conf=0.5", "--out", folder, "--json")
    assert done.code == 0, done.err
    return folder, done


def test_every_stage_is_a_file_or_folder_and_is_told_beforehand(whole, parts):
    folder, done = whole
    assert done.json == {"out": str(folder), "best": str(folder / "joint_2" / TRAINED)}
    lines = done.err.splitlines()
    hours = {
        name: sum(clip.seconds for clip in read(folder / f"{name}.jsonl")) / 3600
        for name in ("paired", "speech")
    }
    assert lines[0].startswith(
        f"paired {hours['paired']:.3g} h, speech {hours['speech']:.3g} h, text 4 sentences, about"
    )
    for number, (line, name) in enumerate(zip(lines[1:], STAGES, strict=False), start=1):
        assert line.startswith(f"{number}. ")
        assert "about " in line
        assert line.endswith(f"({folder / name})")
        assert (folder / name).exists()
    known = {clip.id for clip in read(folder / "paired.jsonl")}
    assert len(known) == 18
    ids = {clip.id for clip in read(folder / "speech.jsonl")}
    assert ids == {clip.id for clip in read(parts / "speech.jsonl")} - known
    assert [clip.text for clip in read(folder / "synthetic.jsonl")] == TEXT.split("\n\n")[
        0
    ].splitlines() + TEXT.splitlines()[3:]


def test_rounds_learn_from_what_the_one_before_them_wrote(whole):
    folder, _ = whole
    first, second = (checkpoint.read_config(folder / name / TRAINED) for name in ("joint", "joint_2"))
    assert first["joint"]["mask"]["kind"] == "none"
    assert first["objective"]["complementary"] == {
        "weight": 1.0,
        "layers": None,
        "block": 0.0,
        "parallel": False,
    }
    assert second["joint"]["mask"] == {"kind": "conf", "scale": 0.5, "threshold": 0.5, "rate": 0.2}
    assert second["objective"]["complementary"]["block"] == 0.5
    for config, labels in ((first, "pseudo.jsonl"), (second, "pseudo_2.jsonl")):
        assert config["joint"]["speech"] == str(folder / labels)
        assert config["joint"]["text"] == str(folder / "synthetic.jsonl")
        assert config["joint"]["paired"]
    one, two = ((folder / name).read_text() for name in ("pseudo.jsonl", "pseudo_2.jsonl"))
    assert one != two
    for name in ("pseudo.json", "pseudo_2.json"):  # what confidences are worth, before and after
        figures = json.loads((folder / name).read_text())
        assert 0 <= figures["AUROC low"] <= figures["AUROC"] <= figures["AUROC high"] <= 1
        assert figures["CER"] > 0
    rows = read_metrics(folder / "joint_2" / "metrics.jsonl")
    assert {"loss_paired", "loss_speech", "loss_text"} <= rows[-1].keys()
    assert "loss_text" not in rows[0]


def test_a_run_that_is_stopped_anywhere_goes_on_and_repeats_nothing(
    whole, sonorant, words, tmp_path, monkeypatch, timeless
):
    folder, did = tmp_path / "run", []
    command = [*words, "--mask", "conf=0.5", "--out", folder]

    def watched(name, path_of, *, last):
        real = cjt.finetune.finetune if name == "finetune" else getattr(cjt, name)

        def run(config, *rest, **options):
            result = real(config, *rest, **options)
            did.append(path_of(config, *rest))
            if len(did) == last:
                raise KeyboardInterrupt
            return result

        return run

    def stopped(last):
        with monkeypatch.context() as patch:
            patch.setattr(
                cjt.finetune, "finetune", watched("finetune", lambda config, **_: Path(config.out), last=last)
            )
            patch.setattr(cjt, "_speak", watched("_speak", lambda *rest: rest[3], last=last))
            patch.setattr(cjt, "_label", watched("_label", lambda *rest: rest[2], last=last))
            return sonorant(*command)

    for number in range(1, 6):
        assert stopped(number).code == 130
    saves, save = [], checkpoint.save

    def once(run, *rest, **options):
        save(run, *rest, **options)
        saves.append(run)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", once)
        assert sonorant(*command).code == 130  # in the middle of the last stage
    assert saves == [folder / "joint_2"]
    done = stopped(99)
    assert done.code == 0, done.err
    assert [path.name for path in did] == STAGES
    assert [line.split(": ")[1].startswith("done") for line in done.err.splitlines()[1:7]] == [True] * 5 + [
        False
    ]
    for name in ("encoder.safetensors", "objective.safetensors", "optimizer.safetensors"):
        files = [run / "joint_2" / TRAINED / name for run in (folder, whole[0])]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert stopped(99).code == 0
    assert len(did) == len(STAGES)
    assert "was begun with other settings: rounds was 2, now 3" in sonorant(*command, "--rounds", "3").line


def test_without_transcripts_the_seed_learns_from_synthetic_audio(sonorant, words, tmp_path):
    folder = tmp_path / "run"
    command = [
        *without(words, "--paired", "--config"),
        "--parallel",
        "--mask",
        "rand=0.4",
        "--language",
        "de",
        "--out",
        folder,
    ]
    assert "objective.decoder: unknown key" in sonorant(*command).line  # CTC alone, unless told otherwise
    done = sonorant(*[word for word in command if "decoder" not in str(word)])
    assert done.code == 0, done.err
    plan = [line.rpartition("(")[2].rstrip(")") for line in done.err.splitlines()[1:7]]
    assert [Path(path).name for path in plan] == ["synthetic.jsonl", "seed", *STAGES[1:2], *STAGES[3:]]
    joint = checkpoint.read_config(folder / "joint_2" / TRAINED)
    assert joint["joint"]["paired"] is False
    assert joint["data"]["manifest"] == str(folder / "synthetic.jsonl")
    assert {clip.language for clip in read(folder / "synthetic.jsonl")} == {"de"}
    network, _ = load_network(folder / "joint_2")
    assert network.complementary is None


@pytest.mark.parametrize(
    ("only", "left", "kinds"),
    [
        ("speech", ["--text", "--tts"], {"loss_paired", "loss_speech"}),
        ("text", ["--speech"], {"loss_paired", "loss_text"}),
    ],
)
def test_controls_leave_one_kind_of_pairs_out(sonorant, words, tmp_path, only, left, kinds, timeless):
    folder = tmp_path / "run"
    done = sonorant(*without(words, *left), "--only", only, "--rounds", "1", "--out", folder, "-q")
    assert done.code == 0, done.err
    names = {path.name for path in folder.iterdir()}
    assert ("pseudo.jsonl" in names, "synthetic.jsonl" in names) == (only == "speech", only == "text")
    last = read_metrics(folder / "joint" / "metrics.jsonl")[-1]
    assert {name for name in last if name.startswith("loss_")} == kinds


def test_transcribed_clips_may_stand_apart(whole, tmp_path):
    plan = json.loads((whole[0] / "plan.json").read_text())
    config = convert({**plan, "beside": False, "out": str(tmp_path)}, cjt.CJTConfig)
    found = cjt.recogniser_of(config, 1)
    assert not found.joint.paired
    assert found.data.manifest == str(tmp_path / "paired.jsonl")
    assert cjt.recogniser_of(convert(plan, cjt.CJTConfig), 1).joint.paired


def test_a_stage_can_be_done_by_hand_and_tells_what_it_lacks(whole, sonorant, pretrained, parts, tmp_path):
    folder = whole[0]
    small = ["train.minutes=null", "train.steps=1", "data.workers=0", f"out={tmp_path / 'run'}", "-q"]
    command = [
        "finetune",
        "ctc",
        f"pretrained={pretrained}",
        f"data.manifest={folder / 'paired.jsonl'}",
        *small,
    ]
    mask = [f"joint.text={folder / 'synthetic.jsonl'}", "joint.mask={kind: conf}"]
    bare = sonorant(*command, *mask, f"joint.speech={parts / 'speech.jsonl'}").line
    assert "has no confidences (label it: sonorant label)" in bare
    both = sonorant(*command, *mask, "pseudo.manifest=x.jsonl").line
    assert "pseudo and joint: give one of them" in both
    assert "speech and text: give one of them, or both" in sonorant(*command, "joint.paired=true").line
    shallow = "objective.complementary={block: 1, layers: 3}"
    assert (
        "objective.complementary.layers: 3, but the context has 2" in sonorant(*command, *mask, shallow).line
    )
    done = sonorant(*command, *mask, f"joint.speech={folder / 'pseudo.jsonl'}")
    assert done.code == 0, done.err


def test_folders_do_as_well_as_manifests(parts, tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    clips = read(parts / "paired.jsonl")[:4]
    for number, clip in enumerate(clips):
        shutil.copy(clip.path, folder)
        if number < 2:
            (folder / Path(clip.path).with_suffix(".txt").name).write_text(clip.text)
    found = unpaired.listed(folder, tmp_path, quiet=True)
    unpaired.write_paired(folder, found, tmp_path / "paired.jsonl")
    paired = read(tmp_path / "paired.jsonl")
    assert [clip.text for clip in paired] == [clip.text for clip in clips[:2]]
    unpaired.write_speech(folder, found, paired, tmp_path / "speech.jsonl")  # the same folder twice
    assert {clip.id for clip in read(tmp_path / "speech.jsonl")} == {
        Path(clip.path).stem for clip in clips[2:]
    }


def test_long_speech_is_cut_without_losing_a_sample():
    clip = Clip("a", "a.wav", start=100, samples=16000 * 100 + 7, rate=16000, text="said", speaker="s")
    found = list(unpaired.pieces(clip))
    assert len(found) == 7
    assert found[0].start == 100
    for one, two in pairwise(found):
        assert one.start + one.samples == two.start
    assert found[-1].start + found[-1].samples == 100 + clip.samples
    assert {(each.text, each.speaker) for each in found} == {(None, "s")}
    short = msgspec.structs.replace(clip, samples=16000 * 30)
    assert list(unpaired.pieces(short)) == [short]


def test_lines_that_no_label_can_spell_are_told_by_number(sonorant, words, tmp_path, timeless):
    text = tmp_path / "text.txt"
    text.write_text("One moment.\n\nSchön.\n...\nTry again.\n", encoding="utf8")
    command = [*without(words, "--text"), "--text", text, "--rounds", "1", "--only", "text", "--out"]
    done = sonorant(*command, tmp_path / "run")
    assert done.code == 0, done.err
    first, second, *_ = done.err.splitlines()
    assert first.startswith(f"skipped {text}:3: no transcript has 'ö', so that")
    assert second == f"skipped {text}:4: has no words"
    assert [clip.text for clip in read(tmp_path / "run" / "synthetic.jsonl")] == ["One moment.", "Try again."]
    text.write_text("Schön.\n", encoding="utf8")
    assert f"{text}:1: no transcript has" in sonorant(*command, tmp_path / "other").line


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["--tts", "flite"], "flite: no such program on PATH"),
        (["--tts", "nosuch:voice"], "engine: 'nosuch' is not one of espeak-ng, flite"),
        (["--speech", "EMPTY"], "EMPTY: no audio and no list of audio found"),
        (["--speech", "nosuch.jsonl"], "nosuch.jsonl: cannot be read"),
        (["--paired", "SILENT"], "no clip has a text (put NAME.txt beside NAME.wav, or leave --paired out)"),
        (["--text", "nosuch.txt"], "nosuch.txt: No such file or directory"),
        (["--mask", "sure"], "--mask: 'sure' is not one of conf, thres, rand or none"),
        (["--mask", "thres=2"], "--mask: 'thres=2' is not one of"),
        (["--only", "both"], "only: invalid enum value 'both'"),
        (["--weight", "0"], "complementary.weight: "),
        (["joint.text=x"], "'joint.text=x': is each stage's own"),
        (["nosuch=1"], "nosuch: unknown key"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_told_in_one_line(sonorant, words, tmp_path, monkeypatch, changes, told, speech):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "SILENT").mkdir()
    shutil.copy(read(speech)[0].path, tmp_path / "SILENT")
    command = without(words, changes[0]) if changes[0] in words else words
    done = sonorant(*command, *changes, "--out", tmp_path / "run")
    assert done.code == 2
    assert told in done.line


def test_a_corrected_command_reads_its_files_anew(sonorant, words, parts, tmp_path):
    data = ["--text", tmp_path / "nosuch.txt", "--out", tmp_path / "run"]
    wrong = [*without(words, "--text", "--paired"), *data]
    assert sonorant(*wrong, "--paired", parts / "speech.jsonl").code == 2
    assert sonorant(*wrong, "--paired", parts / "paired.jsonl").code == 2
    kept, other = read(tmp_path / "run" / "paired.jsonl"), read(parts / "paired.jsonl")
    assert [clip.id for clip in kept] == [clip.id for clip in other]


def test_what_is_missing_is_told(sonorant, words):
    assert "--speech: give a folder or manifest of speech" in sonorant(*without(words, "--speech")).line
    assert "--text: give a file with a sentence a line" in sonorant(*without(words, "--text")).line
    assert label_mask("rand=0.3") == LabelMaskConfig(kind="rand", rate=0.3)
