"""Guards `sonorant bench`: rows of real speech, resumed and repeated, a page that needs nothing else."""

import base64
import csv
import hashlib
import re

import msgspec
import pytest

from sonorant.data.manifest import read, write
from sonorant.data.text import normalize
from sonorant.evaluate.rows import read_rows
from sonorant.evaluate.store import FeatureStore
from sonorant.recipes.benching import bench
from sonorant.recipes.benching.results import load
from sonorant.task import find, names

BUDGET = ["--updates", 4, "--rates", "1e-3,1e-2", "--seeds", 2, "--width", 0.1, "-q"]


@pytest.fixture(scope="module")
def labelled(place, speech):
    """Clips labelled with their language, in three parts."""
    clips = [
        msgspec.structs.replace(
            clip,
            labels={
                "keyword": clip.language,
                "intent.language": clip.language,
                "intent.long": str(clip.seconds > 1.5),
                "emotion": "calm" if clip.seconds > 1.5 else "brief",
                "split": ("train", "train", "validation", "test")[number % 4],
            },
        )
        for number, clip in enumerate(read(speech))
    ]
    path = place / "labelled.jsonl"
    write(path, clips)
    return path


@pytest.fixture(scope="module")
def done(place, pretrained, labelled, sonorant):
    """A benchmark of two upstreams in two tasks."""
    out = place / "bench"
    words = ["bench", "log-mel", f"ours={pretrained}", "--data", labelled, "--tasks", "ks,ic", "--out", out]
    found = sonorant(*words, *BUDGET, "--json")
    assert found.code == 0, found.err
    return words, out, found.json


def plain(rows):
    return [{**row, "seconds": None} for row in rows]


def test_every_upstream_task_head_and_seed_has_a_row(done):
    _, out, rows = done
    assert [(row["subject"], row["task"], row["seed"]) for row in rows] == [
        (upstream, f"{task}, {head} head", seed)
        for upstream in ("log-mel", "ours")
        for task in ("KS", "IC")
        for head in ("mean", "statistics")
        for seed in (0, 1)
    ]
    for row in rows:
        assert (row["benchmark"], row["metric"], row["n"]) == ("bench", "accuracy", 30)
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
        assert row["seconds"] > 0
        assert row["commit"]
    assert msgspec.to_builtins(read_rows(out / "results.jsonl")) == rows
    with (out / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(line["value"]) for line in table] == [row["value"] for row in rows]


def test_the_first_seed_sweeps_and_the_others_take_its_rate(done):
    for fit in load(done[1]):
        assert len(fit.rates) == len(fit.updates) == 1
        if fit.seed == 0:
            (found,) = fit.sweeps
            assert {"0.001", "0.01"} <= set(found)
            assert found[f"{fit.rates[0]:g}"] == max(found.values())
            first = fit.rates
        else:
            assert fit.sweeps == []
            assert fit.rates == first
        assert sum(fit.weights) == pytest.approx(1)
        assert fit.layers == (["frontend"] if fit.upstream == "log-mel" else ["layer_0", "layer_1"])


def test_features_are_computed_once_for_all_tasks(done, sonorant):
    words, out, rows = done
    stores = sorted((out / "features").glob("*/*"))
    assert [len(FeatureStore(store).ids) for store in stores] == [120, 120]
    before = {file: file.stat().st_mtime_ns for store in stores for file in store.iterdir()}
    (out / "fits.jsonl").rename(out / "fits.kept")
    again = sonorant(*words, *BUDGET, "--json")
    assert plain(again.json) == plain(rows)  # the same seed, the same figures
    assert sorted((out / "features").glob("*/*")) == stores
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_what_is_measured_is_not_measured_again_unless_something_changed(done, sonorant, monkeypatch):
    words, out, rows = done
    with monkeypatch.context() as patch:
        patch.setattr("sonorant.recipes.benching.bench._outcome", None)
        assert plain(sonorant(*words, *BUDGET, "--json").json) == plain(rows)
    lines = (out / "fits.jsonl").read_bytes().splitlines(keepends=True)
    (out / "fits.jsonl").write_bytes(b"".join(lines[:5]))  # as if it had been killed after the fifth
    count = 0
    fit = bench._outcome

    def counted(*arguments):
        nonlocal count
        count += 1
        return fit(*arguments)

    monkeypatch.setattr(bench, "_outcome", counted)
    assert plain(sonorant(*words, *BUDGET, "--json").json) == plain(rows)
    assert count == len(lines) - 5
    count = 0
    paper = [*words, "--tasks", "ks", *BUDGET, "--heads", "paper", "--updates", 5, "--json"]
    words_aloud = [word for word in paper if word != "-q"]
    told = sonorant(*words_aloud).err
    assert "ks: other data or settings than before: 8 earlier figures" in told
    assert count == 4
    kept = [(fit.task, fit.head) for fit in load(out)]
    assert kept.count(("ks", "mean")) == 4  # what does not compare with them is gone, other tasks are not
    assert kept.count(("ks", "statistics")) == 0
    assert len(kept) == len(read_rows(out / "results.jsonl")) == 12


def test_the_page_needs_nothing_else_and_shows_every_figure(done, sonorant):
    words, out, _ = done
    assert sonorant(*words, *BUDGET).code == 0
    text = (out / "leaderboard.html").read_text()
    assert not re.search(r"""(src|href)=["']?(http|//)|@import|url\((?!#)""", text)
    for name in ("Leaderboard", "With another head", "Weights of layers", "Where the figures come from"):
        assert f"<h2>{name}</h2>" in text
    assert text.count('scope="row"') == 4
    values = [float(each) for each in re.findall(r'data-value="([^"]+)"', text)]
    scores = [value for value in values if value > 1]
    assert max(scores) == pytest.approx(1000)
    assert text.count("<figure>") == 2  # a panel a task
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_names_are_escaped(place, pretrained, labelled, sonorant, tmp_path):
    words = ["bench", f"<b>={pretrained}", "--data", f"ks={labelled}", "--tasks", "ks", "--heads", "paper"]
    assert sonorant(*words, "--out", tmp_path / "out", *BUDGET, "--seeds", 1).code == 0
    text = (tmp_path / "out/leaderboard.html").read_text()
    assert "<b>" not in text.replace("<b>Health</b>", "")
    assert "&lt;b&gt;" in text


def test_folds_are_measured_together(labelled, sonorant, tmp_path):
    clips = [
        msgspec.structs.replace(clip, labels={"emotion": clip.labels["emotion"], "fold": str(number % 3)})
        for number, clip in enumerate(read(labelled))
    ]
    write(tmp_path / "folds.jsonl", clips)
    words = ["bench", "log-mel", "--data", tmp_path / "folds.jsonl", "--tasks", "er", "--heads", "paper"]
    done = sonorant(*words, "--out", tmp_path / "out", *BUDGET, "--seeds", 1, "--json")
    assert done.code == 0, done.err
    (row,) = done.json
    assert row["n"] == 120
    (fit,) = load(tmp_path / "out")
    assert len(fit.rates) == len(fit.sweeps) == len(fit.updates) == 3


def test_tasks_without_data_are_told_and_those_asked_for_are_refused(speech, sonorant, tmp_path):
    words = [
        "bench",
        "log-mel",
        "--data",
        speech,
        "--out",
        tmp_path / "out",
        "--updates",
        2,
        "--rates",
        "1e-2",
    ]
    assert sonorant(*words, "--tasks", "ks", "-q").line == "sonorant: ks: no clip has a label `keyword`"
    done = sonorant(*words, "--seeds", 1, "--heads", "paper", "--width", 0.05)
    assert done.code == 0, done.err
    assert "ks is left out: no clip has a label `keyword`" in done.err
    assert "SID" in done.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nosuch"], "nosuch: neither a run nor a known model: found no folder"),
        (["log-mel", "log-mel"], "log-mel: is given twice"),
        (["log-mel", "--tasks", "tts"], "tts: tasks: 'tts' is not one of"),
        (["log-mel", "--data", "ks=a.jsonl,b.jsonl"], "expected one manifest, or three"),
        (["log-mel", "--data", "tts=a.jsonl"], "data: 'tts' in 'tts=a.jsonl' is not one of"),
        (["log-mel", "--rates", "10"], "learning_rates: [10.0]"),
        (["log-mel", "--heads", "third"], "heads: invalid enum value 'third'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_in_one_line(words, told, labelled, sonorant, tmp_path):
    given = words if "--data" in words else [*words, "--data", labelled]
    done = sonorant("bench", *given, "--out", tmp_path / "out", "-q")
    assert done.code == 2
    assert told in done.line
    assert not (tmp_path / "out" / "fits.jsonl").exists()


def test_three_manifests_are_three_parts(labelled, sonorant, tmp_path):
    clips = read(labelled)
    for name, part in (("a", clips[0:60]), ("b", clips[60:80]), ("c", clips[80:120])):
        write(tmp_path / f"{name}.jsonl", [msgspec.structs.replace(clip, labels={"keyword": clip.text or "?"})
                                           for clip in part])  # fmt: skip
    data = "ks=" + ",".join(str(tmp_path / f"{name}.jsonl") for name in "abc")
    words = [
        "bench",
        "log-mel",
        "--data",
        data,
        "--tasks",
        "ks",
        "--heads",
        "paper",
        "--out",
        tmp_path / "out",
    ]
    done = sonorant(*words, *BUDGET, "--seeds", 1, "--json")
    assert done.code == 0, done.err
    assert done.json[0]["n"] == 40


def test_every_task_runs_from_speech_to_a_row_and_again_to_the_same(speech, pretrained, sonorant, tmp_path):
    clips = []
    for number, clip in enumerate(read(speech)):
        words = normalize(clip.text or "").split() or ["nothing"]
        labels = {
            "keyword": clip.language,
            "emotion": clip.language,
            "intent": clip.language,
            "iob": " ".join(f"B-{'ab'[place % 2]}" for place in range(len(words))),
        }
        if number % 12 == 0:
            labels["query"] = words[0]
        units = [(word[0], 0.1 * place, 0.1 * place + 0.1) for place, word in enumerate(words)]
        clips.append(
            msgspec.structs.replace(
                clip, text=" ".join(words), labels=labels, units=units, speaker=f"s{number % 9}"
            )
        )
    write(tmp_path / "all.jsonl", clips)
    words = [
        "bench",
        f"ours={pretrained}",
        "--data",
        tmp_path / "all.jsonl",
        "--rates",
        "1e-2",
        "--json",
        "-q",
    ]
    words += ["--updates", 2, "--seeds", 1, "--width", 0.03, "--out", tmp_path / "out"]
    done = sonorant(*words)
    assert done.code == 0, done.err
    heads = {(row["task"].split(",")[0].lower(), row["metric"]) for row in done.json}
    assert heads == {(name, find(name).metric) for name in names()} | {("asr", "cer"), ("sf", "cer")}
    assert {fit.head for fit in load(tmp_path / "out") if fit.task == "qbe"} == {None}
    (tmp_path / "out/fits.jsonl").unlink()
    assert plain(sonorant(*words).json) == plain(done.json)
    assert (tmp_path / "out/leaderboard.html").stat().st_size > 10_000


def test_another_model_of_the_same_name_is_measured_anew(labelled, sonorant, tmp_path):
    contents = []
    for word in ("x=log-mel", "x=mfcc", "x=mfcc"):
        words = [
            "bench",
            word,
            "--data",
            labelled,
            "--tasks",
            "ks",
            "--heads",
            "paper",
            "--out",
            tmp_path / "out",
        ]
        assert sonorant(*words, *BUDGET, "--seeds", 1).code == 0
        (fit,) = load(tmp_path / "out")
        contents.append((fit.content, fit.rows[0].seconds))
    assert contents[0][0] != contents[1][0]
    assert contents[1] == contents[2]
