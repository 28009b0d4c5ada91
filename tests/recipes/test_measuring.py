"""Guards the way from a run to result rows: features of every layer, scores without and with labels."""

import json

import msgspec
import pytest

from sonorant.data.manifest import read, write
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
    pairs = zip(same.load("layer_1"), store.load("layer_1"), strict=True)
    assert all((one == other).all() for one, other in pairs)


def test_controls_have_the_same_front_end_and_other_layers(features, tmp_path, sonorant, pretrained, speech):
    words = ["extract", pretrained, speech, "--untrained", "-q"]
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        assert sonorant(*words, "--seed", seed, "--out", tmp_path / name).code == 0
    trained = FeatureStore(features)
    one, two, three = (FeatureStore(tmp_path / name) for name in ("one", "two", "three"))
    assert (one.load("frontend")[5] == trained.load("frontend")[5]).all()
    assert (one.load("layer_1")[5] == two.load("layer_1")[5]).all()
    assert (one.load("layer_1")[5] != three.load("layer_1")[5]).any()
    assert (one.load("layer_1")[5] != trained.load("layer_1")[5]).any()
    assert sonorant("extract", "log-mel", speech, "--out", tmp_path / "mel", "-q").code == 0
    mel = FeatureStore(tmp_path / "mel")
    assert (mel.layers, mel.frame_seconds, mel.dims) == (("frontend",), 0.01, {"frontend": 80})


def test_features_to_score_bring_their_targets(features, tmp_path, sonorant, pretrained, few):
    out = tmp_path / "to_score"
    assert sonorant("extract", pretrained, few, "--to-score", "--out", out, "-q").code == 0
    store, targets = FeatureStore(out), FeatureStore(out / "targets")
    assert (store.section, targets.section) == (round(0.5 / store.frame_seconds), None)
    whole = FeatureStore(features)
    assert (targets.load("frontend")[5] == whole.load("frontend")[whole.ids.index(targets.ids[5])]).all()
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
    assert real["task"] == "label-free information (K=100, gap 0.12 s)"
    assert control["subject"] == "features layer_1, shuffled"
    assert real["low"] <= real["value"] <= real["high"]
    assert real["n"] == 24
    assert (real["seed"], real["benchmark"]) == (0, "measure")
    assert real["commit"]
    assert real["machine"]
    again = sonorant(*words)
    assert "| features layer_1 | label-free information (K=100, gap 0.12 s) | nats |" in again.out
    assert len(read_rows(rows)) == 14
    assert [row.value for row in read_rows(rows)[:7]] == [row.value for row in read_rows(rows)[7:]]


def test_units_add_the_labelled_bound_and_the_probe(features, tmp_path, sonorant, speech):
    clips = []
    for clip in read(speech):
        quarter = clip.seconds / 4
        units = [(label, i * quarter, (i + 1) * quarter) for i, label in enumerate("abab")]
        clips.append(msgspec.structs.replace(clip, units=units))
    labelled = tmp_path / "labelled.jsonl"
    write(labelled, clips)
    words = ["measure", features, "--layer", "layer_0", "--manifest", labelled, "--json"]
    words += ["--clusters", "4"]
    rows = sonorant(*words).json
    assert [row["task"].partition(" (")[0] for row in rows] == [
        *["label-free information"] * 4,
        *["rank"] * 3,
        *["labelled information"] * 4,
        "phone probe",
        *["clusters and phones"] * 4,
    ]
    accuracy, *matched = rows[11:]
    assert accuracy["metric"] == "accuracy"
    assert 0.3 < accuracy["low"] <= accuracy["value"] <= accuracy["high"] < 1
    assert [row["metric"] for row in matched] == ["PNMI", "phone purity", "cluster purity", "PNMI"]
    assert matched[3]["subject"].endswith("layer_0, shuffled")
    assert all(row["low"] < row["value"] < row["high"] for row in matched[:3])


def test_what_cannot_be_extracted_or_measured_is_refused(features, tmp_path, sonorant, pretrained, speech):
    for words, told in (
        (["extract", tmp_path, speech, "--out", tmp_path / "new"], f"{tmp_path}: no checkpoint here"),
        (["extract", pretrained, speech, "--out", features], f"{features}: exists already"),
        (
            ["extract", pretrained, speech, "--out", tmp_path / "new", "--layer", "layer_9"],
            "layer: 'layer_9' is not one of frontend, layer_0, layer_1",
        ),
        (["measure", tmp_path], f"{tmp_path / 'features.json'}: cannot be read"),
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
