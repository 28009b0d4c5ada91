"""Guards the report: one file that asks for nothing, escapes everything, and shows what a run left."""

import json
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from safetensors.numpy import save_file

from sonorant.evaluate.rows import Row, RowError, write_rows
from sonorant.recipes.report import write_report
from sonorant.recipes.sections.page import ReportError
from sonorant.recipes.sections.plots import PlotError
from sonorant.recipes.sections.transcripts import Hypothesis, chosen

HOSTILE = "<script>alert('x')</script>\"$\\frac{&amp;\N{CYRILLIC CAPITAL LETTER ZHE}\N{ARABIC LETTER SAD}"
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """The page's titles, text and tags; fails where tags are not closed in order."""

    def __init__(self, path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.titles: list[str] = []
        self.texts: list[str] = []
        self.source = path.read_text(encoding="utf8")
        self.feed(self.source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)


def metrics(folder, steps=60, **more):
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"step": step, "loss": 3 / step, "learning_rate": 1e-3, "gradient_norm": 1.0, "audio_seconds": 60.0,
         "seconds": 0.5, "skipped": 0, **more}
        for step in range(1, steps + 1)
    ]  # fmt: skip
    rows[4]["loss"], rows[7]["loss"] = None, float("nan")
    rows.append({"step": steps, "validation_loss": 1.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def hypotheses(folder, count=25, heard="the cat sat"):
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": f"u{n}", "path": f"/a/{n}.flac", "reference": f"the cat sat {n}", "hypothesis": heard}
        for n in range(count)
    ]
    (folder / "hypotheses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def row(subject, task, metric, value, **more):
    return Row(benchmark="demo", subject=subject, task=task, metric=metric, value=value, **more)


def results(run, *, name="trained"):
    layers = [
        row(f"{name} layer_{n}", "phone probe", "accuracy", 0.5 + n / 10, low=0.4, high=0.9, n=9)
        for n in range(3)
    ]
    rates = [
        row(each, "recognition", "CER", value, low=value - 0.01, high=value + 0.01, n=214, seed=7)
        for each, value in (("finetuned", 0.312), ("scratch", 0.641))
    ]
    rows = [row("fetch", "time", "seconds", 1234.5), *layers, row("log-mel", "phone probe", "accuracy", 0.3)]
    write_rows(run / "results.jsonl", [*rows, *rates])


def picture(run, text="the cat sat", **more):
    draw = np.random.default_rng(0).normal
    tensors = {"spectrogram": draw(size=(50, 20)), "features": draw(size=(12, 6))}
    tensors = {name: values.astype(np.float32) for name, values in {**tensors, **more}.items()}
    save_file(
        tensors, run / "picture.safetensors", {"clip": "u1", "layer": "2", "seconds": "0.5", "text": text}
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in which everything is found."""
    run = tmp_path_factory.mktemp("runs") / "demo"
    metrics(run / "pretrain", accuracy=0.5)
    for name in ("finetuned", "scratch"):
        metrics(run / name, blank_share=0.7)
        hypotheses(run / name)
    results(run)
    picture(run)
    checkpoint = run / "pretrain" / "step_0000060"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text(json.dumps({"encoder": {"dim": 77}}))
    return run


@pytest.fixture(scope="module")
def page(run):
    return Page(write_report(run))


def test_everything_in_its_place(run, page) -> None:
    assert page.titles == [
        "Recognition", "Transcripts", "One utterance", "Phone probe", "Time", "Training: pretrain",
        "Training: finetuned and scratch", "Where the figures come from", "Settings",
    ]  # fmt: skip
    for shown in (
        "31.2",
        "30.2 to 32.2",
        "n = 214",
        "1,234",
        "accuracy, %, by layer",
        "blank share",
        "dim: 77",
    ):
        assert any(shown in each for each in page.texts), shown
    assert not list(run.glob("*.partial"))


def test_the_page_needs_nothing_from_elsewhere(page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object"}
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert not any(loading in page.source for loading in ("@import", "url(http", "url(//"))


def test_ids_are_each_used_once_and_all_references_are_met(page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    referred = {
        value.removeprefix("url(").removeprefix("#").removesuffix(")")
        for _, attributes in page.tags
        for name, value in attributes.items()
        if value and (value.startswith("url(#") or (name.endswith("href") and value.startswith("#")))
    }
    assert referred <= set(ids)


def test_same_run_same_bytes(run, page) -> None:
    assert write_report(run).read_text(encoding="utf8") == page.source


def test_colours_are_the_style_sheets(page) -> None:
    """What is drawn in a fixed colour vanishes in the dark."""
    drawings = page.source.split("</style>", 1)[1]
    assert "var(--s1)" in drawings
    assert "var(--quiet)" in drawings
    assert "stroke: #" not in drawings
    assert "fill: #" not in drawings


def test_text_from_data_is_shown_and_does_nothing(tmp_path) -> None:
    run = tmp_path / "<b>run & co"
    metrics(run / "<i>inner", **{HOSTILE: 1.0})
    hypotheses(run / "<i>inner", heard=HOSTILE)
    results(run, name=HOSTILE)
    write_rows(
        run / "results.jsonl",
        [
            Row(
                **dict.fromkeys(("benchmark", "subject", "task", "metric", "commit", "machine"), HOSTILE),
                value=1,
            )
        ],
    )
    picture(run, text=HOSTILE)
    (run / "config.json").write_text(json.dumps({HOSTILE: HOSTILE}))
    page = Page(write_report(run))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "i>inner", "b>run"}
    assert page.source.count("<script") == 0
    assert any(HOSTILE in (attributes.get("aria-label") or "") for _, attributes in page.tags)
    assert "<b>run" not in page.source
    assert "".join(page.texts).count("alert('x')") > 12


def test_what_training_said_of_a_collapse_is_shown(tmp_path) -> None:
    metrics(tmp_path / "pretrain")
    file = tmp_path / "pretrain" / "metrics.jsonl"
    file.write_text(file.read_text() + json.dumps({"step": 1200, "diagnosis": f"collapse {HOSTILE}"}) + "\n")
    page = Page(write_report(tmp_path))
    assert any(f"step 1,200: collapse {HOSTILE}" in each for each in page.texts)
    assert "diagnosis" not in page.texts  # no curve


def test_two_recognisers_share_their_axes(page) -> None:
    section = page.source.split("Training: finetuned and scratch</h2>")[1]
    panel = section.split("blank share</figcaption>")[1].split("</figure>")[0]
    assert "var(--s0)" in panel
    assert "var(--s1)" in panel


def test_one_recogniser_alone_has_a_section(tmp_path) -> None:
    metrics(tmp_path / "scratch")
    assert "Training: scratch" in Page(write_report(tmp_path)).titles


@pytest.mark.parametrize("name", ["metrics", "hypotheses", "results", "picture"])
def test_one_thing_alone_is_enough(tmp_path, name) -> None:
    {"metrics": metrics, "hypotheses": hypotheses, "results": results, "picture": picture}[name](tmp_path)
    assert Page(write_report(tmp_path)).titles


@pytest.mark.parametrize("path", ["", "missing"])
def test_nothing_found_says_what_a_run_holds(tmp_path, path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(ReportError, match=r"metrics\.jsonl, results\.jsonl") as error:
        write_report(tmp_path / path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "report.html").exists()


def test_broken_files_are_named(tmp_path) -> None:
    hypotheses(tmp_path / "scratch")
    file = tmp_path / "scratch" / "hypotheses.jsonl"
    file.write_text(file.read_text() + '{"id": 3}\n')
    with pytest.raises(ReportError, match=r"hypotheses\.jsonl:26: "):
        write_report(tmp_path)
    hypotheses(tmp_path / "scratch")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ReportError, match=r"config\.json: "):
        write_report(tmp_path)
    (tmp_path / "results.jsonl").write_text("{}\n")
    with pytest.raises(RowError, match=r"results\.jsonl:1: "):
        write_report(tmp_path)


@pytest.mark.parametrize(
    "tensors",
    [{"features": np.ones(3)}, {"features": np.full((3, 2), np.nan)}, {"spectrogram": np.ones((0, 4))}],
)
def test_a_picture_that_cannot_be_drawn_is_named(tmp_path, tensors) -> None:
    picture(tmp_path, **tensors)
    with pytest.raises(ReportError, match=r"picture\.safetensors: .*shape"):
        write_report(tmp_path)


def test_without_matplotlib_the_extra_is_named_and_tables_do_without(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    write_rows(tmp_path / "results.jsonl", [row("finetuned", "recognition", "CER", 0.25)])
    assert "25.0" in Page(write_report(tmp_path)).texts
    metrics(tmp_path)
    with pytest.raises(PlotError, match=r"pip install 'sonorant\[plot\]'"):
        write_report(tmp_path)


def test_a_run_of_one_step_is_drawn(tmp_path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0, "accuracy": null}\n')
    page = Page(write_report(tmp_path))
    assert "loss" in page.texts
    assert "accuracy" not in page.texts  # never finite: nothing to draw


def test_transcripts_are_chosen_evenly_and_always_the_same() -> None:
    spoken = [Hypothesis(id=str(n), hypothesis="") for n in range(100)]
    assert [each.id for each in chosen(spoken)] == [str(n) for n in range(5, 100, 10)]
    assert chosen(spoken[:3]) == spoken[:3]


def test_transcripts_without_reference_are_left_out(tmp_path) -> None:
    (tmp_path / "hypotheses.jsonl").write_text(
        '{"id": "quiet", "path": "", "reference": null, "hypothesis": "h"}\n'
        '{"id": "said", "path": "", "reference": "a b", "hypothesis": ""}\n'
    )
    texts = Page(write_report(tmp_path)).texts
    assert "said" in texts
    assert "quiet" not in texts
    assert "CER 100%, WER 100%" in texts
