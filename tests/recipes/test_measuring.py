"""Guards the way from a run to result rows: features of every layer, scores without and with labels."""

import json
from functools import partial

import msgspec
import pytest
import torch

from sonorant.data.manifest import read, write
from sonorant.evaluate.critics import CriticConfig
from sonorant.evaluate.linear import ProbeConfig
from sonorant.evaluate.rows import read_rows
from sonorant.evaluate.store import FeatureStore
from sonorant.train import checkpoint


@pytest.fixture(scope="module")
def features(place, sonorant, pretrained, speech):
    out = place / "features"
    done = sonorant("extract", pretrained, speech, "--out", out, "-q")
    assert (done.code, done.out) == (0, f"{out}: features of 120 clips\n")
    return out


def test_features_are_those_of_the_best_checkpoint(features, tmp_path, sonorant, pretrained, speech):
    store = FeatureStore(features)
    assert store.layers == ("frontend", "layer_0", "layer_1")
    assert store.dims == {"frontend": 80, "layer_0": 16, "layer_1": 16}
    assert store.ids == tuple(sorted(store.ids, key=store.ids.index))
    assert set(store.ids) == {clip.id for clip in read(speech)}
    best = checkpoint.read_state(checkpoint.latest(pretrained)).best_step
    folder = pretrained / f"step_{best:07d}"
    assert store.provenance == {
        "checkpoint": str(folder),
        "untrained": False,
        "manifest": str(speech),
        "precision": "auto",
    }
    assert (
        sonorant("extract", folder, speech, "--out", tmp_path / "same", "-q", "--layer", "layer_1").code == 0
    )
    same = FeatureStore(tmp_path / "same")
    assert same.layers == ("layer_1",)
    pairs = zip(same.read("layer_1", same.ids), store.read("layer_1", store.ids), strict=True)
    assert all((one == other).all() for one, other in pairs)


def test_controls_have_the_same_front_end_and_other_layers(features, tmp_path, sonorant, pretrained, speech):
    words = ["extract", pretrained, speech, "--untrained", "-q"]
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        assert sonorant(*words, "--seed", seed, "--out", tmp_path / name).code == 0
    trained = FeatureStore(features)
    one, two, three = (FeatureStore(tmp_path / name) for name in ("one", "two", "three"))
    assert (one.read("frontend", one.ids)[5] == trained.read("frontend", trained.ids)[5]).all()
    assert (one.read("layer_1", one.ids)[5] == two.read("layer_1", two.ids)[5]).all()
    assert (one.read("layer_1", one.ids)[5] != three.read("layer_1", three.ids)[5]).any()
    assert (one.read("layer_1", one.ids)[5] != trained.read("layer_1", trained.ids)[5]).any()
    assert sonorant("extract", "log-mel", speech, "--out", tmp_path / "mel", "-q").code == 0
    mel = FeatureStore(tmp_path / "mel")
    assert (mel.layers, mel.frame_seconds, mel.dims) == (("frontend",), 0.01, {"frontend": 80})


def test_features_to_score_bring_their_targets(features, tmp_path, sonorant, pretrained, few):
    out = tmp_path / "to_score"
    assert sonorant("extract", pretrained, few, "--to-score", "--out", out, "-q").code == 0
    store, targets = FeatureStore(out), FeatureStore(out / "targets")
    assert (store.section, targets.section) == (round(0.5 / store.frame_seconds), None)
    whole = FeatureStore(features)
    frames = whole.read("frontend", whole.ids)[whole.ids.index(targets.ids[5])].float().unflatten(1, (4, -1))
    shapes = (frames - frames.mean(-1, keepdim=True)).flatten(1)
    assert torch.allclose(targets.read("frontend", targets.ids)[5].float(), shapes, atol=5e-3)
    assert (shapes - frames.flatten(1)).abs().max() > 0.5
    brief = sonorant("measure", out, "--layer", "layer_1", "--json")
    assert brief.code == 0, brief.err
    words = ["--targets", out / "targets", "--target-layer", "frontend", "--json"]
    explicit = sonorant("measure", out, "--layer", "layer_1", *words)
    assert [row["value"] for row in brief.json] == [row["value"] for row in explicit.json]


def test_a_measurement_is_rows_with_intervals_and_controls(features, tmp_path, sonorant):
    rows = tmp_path / "results" / "rows.jsonl"
    words = ["measure", features, "--layer", "layer_1", "--target-layer", "frontend", "--out", rows]
    done = sonorant(*words, "--json")
    assert done.code == 0
    assert [row["metric"] for row in done.json] == [
        *["nats", "bits", "share of entropy", "nats"],
        *["RankMe", "effective rank", "participation ratio"],
    ]
    assert all(1 < row["low"] < row["value"] < row["high"] < 16 for row in done.json[4:])
    assert done.json[4]["task"] == "rank (of 16)"
    assert [msgspec.to_builtins(row) for row in read_rows(rows)] == done.json
    real, control = done.json[0], done.json[3]
    assert real["task"] == "label-free information (K=100, gap 0.12 s = 3 x 0.04 s)"
    assert control["subject"] == "features layer_1, shuffled"
    assert real["low"] <= real["value"] <= real["high"]
    assert real["n"] == 24
    assert (real["seed"], real["benchmark"]) == (0, "measure")
    assert real["commit"]
    assert real["machine"]
    again = sonorant(*words)
    assert (
        "| features layer_1 | label-free information (K=100, gap 0.12 s = 3 x 0.04 s) | nats |" in again.out
    )
    assert len(read_rows(rows)) == 14
    assert [row.value for row in read_rows(rows)[:7]] == [row.value for row in read_rows(rows)[7:]]


def test_units_add_the_labelled_bound_and_the_probe(features, tmp_path, sonorant, speech, monkeypatch):
    quick = partial(ProbeConfig, updates=300, learning_rates=(1e-3,))
    monkeypatch.setattr("sonorant.recipes.scoring.ProbeConfig", quick)
    clips = []
    for clip in read(speech):
        quarter = clip.seconds / 4
        units = [(label, i * quarter, (i + 1) * quarter) for i, label in enumerate("abab")]
        clips.append(msgspec.structs.replace(clip, units=units))
    labelled = tmp_path / "labelled.jsonl"
    write(labelled, clips)
    words = ["measure", features, "--layer", "layer_0", "--manifest", labelled, "--json"]
    words += ["--clusters", "4", "--probe", "linear,mlp"]
    rows = sonorant(*words).json
    assert [row["task"].partition(" (")[0] for row in rows] == [
        *["label-free information"] * 4,
        *["rank"] * 3,
        *["labelled information"] * 4,
        "phone probe",
        *["labelled information, mlp"] * 4,
        "phone probe, mlp",
        *["clusters and phones"] * 5,
    ]
    accuracy, *matched = rows[11], *rows[17:]
    assert accuracy["metric"] == "accuracy"
    assert 0.3 < accuracy["low"] <= accuracy["value"] <= accuracy["high"] < 1
    assert [row["metric"] for row in matched] == [
        *["PNMI", "PNMI, corrected", "phone purity", "cluster purity", "PNMI"]
    ]
    assert matched[4]["subject"].endswith("layer_0, shuffled")
    assert all(row["low"] < row["value"] < row["high"] for row in matched[:4])


def test_a_curve_has_rows_of_each_point_and_says_what_it_cannot_tell(features, sonorant):
    words = ["measure", features, "--layer", "layer_1", "--target-layer", "frontend", "--json"]
    done = sonorant(*words, "--codes", "2,4,8", "--gaps", "0.04,0.05,0.2")
    tasks = dict.fromkeys(row["task"] for row in done.json if row["metric"] == "nats")
    points = [
        f"label-free information (K={codes}, gap {gap})"
        for gap in ("0.04 s = 1 x 0.04 s", "0.2 s = 5 x 0.04 s")
        for codes in (2, 4, 8)
    ]
    assert [task for task in tasks if "infinity" not in task] == points
    led = [task for task in tasks if "infinity" in task]
    doubts = [line for line in done.err.splitlines() if "cannot be told" in line]
    assert len(led) + len(doubts) == 2


def test_a_bound_below_zero_comes_with_advice(features, sonorant):
    words = ["measure", features, "--layer", "layer_1", "--target-layer", "frontend", "--json"]
    done = sonorant(*words, "--codes", "100", "--gaps", "1.2")
    assert done.json[0]["value"] < 0
    (line,) = done.err.splitlines()
    assert line.startswith("features layer_1: a bound below 0 (K=100) tells nothing")
    assert "Give more speech" in line


def test_controls_and_critics_stand_beside_the_figures(tmp_path, sonorant, pretrained, few, monkeypatch):
    quick = partial(CriticConfig, updates=40, hidden=8, dim=4, batch=64)
    monkeypatch.setattr("sonorant.recipes.scoring.CriticConfig", quick)
    out = tmp_path / "f"
    assert sonorant("extract", pretrained, few, "--to-score", "--out", out, "-q").code == 0
    words = ["measure", out, "--layer", "layer_1", "--codes", "4", "--json"]
    done = sonorant(*words, "--controls", "--bounds", "infonce")
    figures = {
        (row["subject"], row["task"].partition(" (")[0]): row["value"]
        for row in done.json
        if row["metric"] in ("nats", "RankMe")
    }
    kinds = ("layer_1", "collapsed", "layer_1, untrained", "log-mel")
    assert {subject for subject, _ in figures} == {
        f"f {kind}{more}" for kind in kinds for more in ("", ", shuffled", ", at most (log of the batch)")
    }
    assert figures["f collapsed", "label-free information"] < 0.02
    assert figures["f collapsed", "InfoNCE bound"] < 0.02
    assert figures["f collapsed", "rank"] == pytest.approx(1, abs=1e-4)
    untrained = figures["f layer_1, untrained", "label-free information"]
    assert untrained != figures["f layer_1", "label-free information"]
    assert figures["f log-mel", "rank"] > 2
    assert not list(tmp_path.glob("**/untrained"))


def test_controls_that_cannot_be_made_are_told(tmp_path, sonorant, few):
    here = tmp_path / "few.jsonl"
    write(here, read(few))
    assert sonorant("extract", "log-mel", here, "--out", tmp_path / "mel", "-q").code == 0
    words = [
        "measure",
        tmp_path / "mel",
        "--codes",
        "2",
        "--controls",
        "--target-layer",
        "frontend",
        "--json",
    ]
    done = sonorant(*words)
    assert "collapsed: " not in done.err  # that a control tells nothing needs no advice
    assert "mel: no control of the untrained encoder: 'log-mel' is no checkpoint" in done.err
    assert any(row["subject"] == "mel log-mel" for row in done.json)
    here.unlink()
    done = sonorant(*words)
    assert f"manifest {str(here)!r} is gone" in done.err
    assert {row["subject"] for row in done.json} == {
        f"mel {kind}{more}" for kind in ("frontend", "collapsed") for more in ("", ", shuffled")
    }


def test_what_cannot_be_extracted_or_measured_is_refused(features, tmp_path, sonorant, pretrained, speech):
    for words, told in (
        (
            ["extract", tmp_path, speech, "--out", tmp_path / "new"],
            f"{tmp_path}: neither a run nor a known model",
        ),
        (["extract", pretrained, speech, "--out", features], f"{features}: exists already"),
        (
            ["extract", pretrained, speech, "--out", tmp_path / "new", "--layer", "layer_9"],
            "layer: 'layer_9' is not one of frontend, layer_0, layer_1",
        ),
        (["measure", tmp_path], f"{tmp_path / 'features.json'}: cannot be read"),
        (["measure", features, "--bounds", "nwj,mine"], "bounds: 'mine' is not one of infonce, nwj, dv"),
        (["measure", features, "--codes", "50,many"], "codes: '50,many' are no numbers"),
        (["measure", features, "--codes", "1"], "codes: give numbers from 2 on"),
        (["measure", features, "--probe", "deep"], "probe: 'deep' is not one of linear, mlp"),
        (["measure", features, "--clusters", "4"], "clusters: are compared with units"),
        (["measure", features, "--layer", "layer_9"], f"{features}: no layer 'layer_9'"),
        (["measure", features, "--manifest", speech], f"{features}: no utterance has units in the manifest"),
    ):
        done = sonorant(*words, *["-q"][: words[0] == "extract"])
        assert (done.code, told in done.line) == (2, True), done
    assert not (tmp_path / "new").exists()


def test_a_damaged_checkpoint_is_a_failure(tmp_path, sonorant, pretrained, speech):
    folder = tmp_path / "step_0000006"
    folder.mkdir()
    for file in (pretrained / "step_0000006").iterdir():
        (folder / file.name).write_bytes(file.read_bytes()[: -100 if file.stem == "encoder" else None])
    done = sonorant("extract", folder, speech, "--out", tmp_path / "features")
    assert done.code == 1
    assert f"{folder / 'encoder.safetensors'}: cannot be read" in done.line


def test_rows_are_one_json_document(features, sonorant):
    assert isinstance(json.loads(sonorant("measure", features, "--layer", "frontend", "--json").out), list)
