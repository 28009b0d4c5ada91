"""Guards `sonorant compare` on features of real speech: figures, files, the report's section, mistakes."""

import json
import shutil

import msgspec
import pytest

from sonorant.evaluate.alike import MEASURES
from sonorant.evaluate.rows import read_rows
from sonorant.evaluate.similarity import Comparison


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("sonorant.evaluate.similarity.SAMPLED", 300)


@pytest.fixture(scope="module")
def features(place, sonorant, pretrained, few):
    folder = place / "compared"
    for name, words in (
        ("trained", [pretrained]),
        ("new", [pretrained, "--untrained", "--seed", 5]),
        ("mel", ["log-mel"]),
    ):
        assert sonorant("extract", *words, few, "--out", folder / name, "-q").code == 0
    return folder


def test_a_comparison_is_printed_written_and_reported(features, tmp_path, sonorant):
    out = tmp_path / "run" / "comparison"
    done = sonorant("compare", features / "trained", features / "new", "--out", out, "--json")
    assert done.code == 0, done.err
    assert done.err == ""
    found = msgspec.json.decode((out / "comparison.json").read_bytes(), type=Comparison)
    assert json.loads(msgspec.json.encode(found)) == done.json
    assert (found.first, found.second, found.utterances) == ("trained", "new", 40)
    assert found.first_layers == found.second_layers == ("frontend", "layer_0", "layer_1")
    assert list(found.values) == list(MEASURES)
    for measure in MEASURES:
        assert found.values[measure][0][0] == pytest.approx(1, abs=1e-6)  # both have the same front end
        assert found.values[measure][2][2] < 0.95
        assert found.itself[measure] == pytest.approx(1, abs=1e-6)
        assert found.rotated[measure] == pytest.approx(1, abs=1e-6)
    rows = read_rows(out / "rows.jsonl")
    assert len(rows) == len(MEASURES) * (2 * 3 * 3 + 2)
    best = found.best["pwcca"][2]
    told = [row for row in rows if row.metric == "pwcca" and row.subject == "trained layer_1" and row.low]
    assert [(row.task, row.value, row.low, row.high, row.n) for row in told] == [
        (f"similarity to new {best.layer}", best.value, best.low, best.high, 40)
    ]
    for picture in ("heat_map.png", "curves.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    assert sonorant("report", tmp_path / "run").code == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf8")
    assert "trained against new" in page
    assert f"{found.values['pwcca'][2][1]:.2f}<small>{found.floors['pwcca'][2][1]:.2f}</small>" in page
    (out / "comparison.json").write_text("{}")
    assert "comparison.json: Object missing required field" in sonorant("report", tmp_path / "run").line


def test_models_of_different_frame_rates_are_compared(features, sonorant):
    words = ["--measures", "pwcca,linear_cka", "--layers", "frontend,layer_1"]
    done = sonorant("compare", features / "trained", features / "mel", *words)
    assert done.code == 0, done.err
    assert "trained against mel: " in done.out
    assert "one every 0.04 s, of 40 utterances" in done.out
    lines = [line.split(" | ") for line in done.out.splitlines() if line.startswith(("| pwcca", "| linear"))]
    assert [line[:3] for line in lines] == [
        [f"| {measure}", layer, "frontend"]
        for measure in ("pwcca", "linear_cka")
        for layer in ("frontend", "layer_1")
    ]
    assert all(float(line[3]) > 2 * float(line[5].rstrip(" |")) for line in lines)
    few = sonorant("compare", features / "trained", features / "mel", *words, "--frames", 500, "--json")
    assert few.json["frames"] < 600
    assert few.err.splitlines()[0].startswith(f"warning: {few.json['frames']} frames for 80 + 80 dimensions")


def test_folders_of_one_name_are_told_apart(features, tmp_path, sonorant):
    for name in ("a", "b"):
        shutil.copytree(features / "trained", tmp_path / name / "features")
    words = ["--measures", "linear_cka", "--layers", "layer_0", "--json"]
    done = sonorant("compare", tmp_path / "a" / "features", tmp_path / "b" / "features", *words)
    assert (done.json["first"], done.json["second"]) == ("a/features", "b/features")
    assert done.json["values"]["linear_cka"] == [[pytest.approx(1)]]


def test_mistakes_are_told_in_one_line(features, tmp_path, sonorant):
    pair = (features / "trained", features / "new")
    for words, told in (
        ([*pair, "--measures", "pwcca,cka"], "measures: 'cka' is not one of mean_cca, svcca"),
        ([*pair, "--layers", "layer_9"], f"{pair[0]}: none of the layers asked for; it has frontend"),
        ([pair[0], tmp_path], f"{tmp_path / 'features.json'}: cannot be read"),
        (
            [*pair, "--out", features / "new" / "index.jsonl"],
            f"{features / 'new' / 'index.jsonl'}: File exists",
        ),
    ):
        done = sonorant("compare", *words)
        assert (done.code, told in done.line) == (2, True), done
