"""Guards the table of recognisers: that ways differ as they say, what is planned, and all stages once."""

import pytest

import recognisers as script
from contest import recogniser_page, recognising
from contest.entries import Budget, Entry
from contest.recognisers import ARMS, SCRATCH, Recogniser, recognisers
from contest.running import run
from sonorant.config import ConfigError, convert, load
from sonorant.evaluate.rows import Row, read_rows
from sonorant.recipes.pretrain import pretrain
from sonorant.recipes.settings import PretrainConfig
from sonorant.recipes.shipped import shipped

BUDGET = Budget(pretraining=0, finetuning=1, processes=1)


@pytest.fixture
def upstream(small, tmp_path):
    words = [f"data.manifest={small / 'untranscribed.jsonl'}", f"out={tmp_path / 'pretrained-3'}"]
    words += ["train.minutes=null", "train.steps=2", "objective={name: apc, shift: 1}"]
    pretrain(convert(load(shipped("demo_pretrain"), words), PretrainConfig), quiet=True)
    return str(tmp_path / "pretrained-{seed}")


def entry(small, tmp_path, upstream, kind, arm):
    return Entry(Recogniser(kind, "10m", arm, upstream), 3, small, tmp_path / "out", BUDGET, "recognisers")


def test_ways_differ_in_their_settings_alone(small, tmp_path, upstream):
    """Waiting, rates, layers and heads are as the names say, over so many updates as there are."""
    configs = {
        arm: recognising.config(entry(small, tmp_path, upstream, "ctc", arm), arm, 130) for arm in ARMS
    }
    told = {
        arm: (
            config.from_scratch,
            config.objective["freeze_context"],
            config.objective.get("layer"),
            config.objective.get("head", "linear"),
            config.train.schedule.peak,
            config.train.optimizer.layer_decay,
        )
        for arm, config in configs.items()
    }
    assert told == {
        "from scratch": (True, 0, "weighted", "linear", 1e-3, None),
        "frozen": (False, "always", "weighted", "recurrent", 1e-3, None),
        "fine-tuned": (False, 0, "weighted", "linear", pytest.approx(1e-3), None),
        "fine-tuned, layer decay 0.8": (False, 0, "weighted", "linear", pytest.approx(1e-3), 0.8),
        "from scratch, last layer": (True, 0, None, "linear", 1e-3, None),
        "frozen, last layer": (False, "always", None, "recurrent", 1e-3, None),
        "fine-tuned, last layer": (False, 0, None, "linear", pytest.approx(1e-3), None),
    }
    assert {config.train.steps for config in configs.values()} == {130}
    assert {config.pretrained.split("/")[-2] for config in configs.values()} == {"pretrained-3"}
    attentive = entry(small, tmp_path, upstream, "seq2seq", "frozen")
    assert "head" not in recognising.config(attentive, "frozen", 9).objective


def test_wide_encoders_wait_for_their_share_of_the_updates(small, tmp_path, upstream, monkeypatch):
    found = recognising.encoder_settings

    def wide(run):
        settings = found(run)
        return {**settings, "context": {**settings["context"], "dim": 768}}

    monkeypatch.setattr(recognising, "encoder_settings", wide)
    config = recognising.config(entry(small, tmp_path, upstream, "ctc", "fine-tuned"), "fine-tuned", 130)
    assert config.objective["freeze_context"] == 100


def test_unknown_names_and_runs_are_told(tmp_path):
    with pytest.raises(ConfigError, match="--arms: 'frosen' is not one of from scratch, frozen, "):
        list(recognisers(["ctc"], ["10m"], ["frosen"], ""))
    wanted = {"kinds": ["ctc"], "labels": ["1h"], "arms": [SCRATCH]}
    with pytest.raises(ConfigError, match="run-1: no such run"):
        script.entries(wanted, [1], BUDGET, tmp_path, tmp_path, upstream=str(tmp_path / "run-{seed}"))


def test_a_recogniser_is_trained_and_measured_once(small, tmp_path, upstream, monkeypatch):
    monkeypatch.setattr("contest.recognising.updates", lambda file, config, minutes: 3)
    monkeypatch.setattr(recognising, "WEIGHTS", (0.5,))
    monkeypatch.setattr(recognising, "TUNED", 3)
    monkeypatch.setitem(recognising.WIDTHS, "ctc", 2)
    chosen = [entry(small, tmp_path, upstream, "ctc", "frozen")]
    file = tmp_path / "recognisers-today.jsonl"
    assert run(chosen, file, recogniser_page.show) == 0
    rows = read_rows(file)
    metrics = {row.metric for row in rows}
    assert {*recogniser_page.COLUMNS, "LM weight", "word bonus"} <= metrics
    page = file.with_suffix(".md").read_text()
    assert "## ctc, 10m" in page
    assert "## ctc, 1h" not in page
    assert not chosen[0].left
    monkeypatch.setattr("contest.recognising.finetuning", None)  # whose stages have ended are not repeated
    assert run(chosen, file, recogniser_page.show) == 0
    assert read_rows(file) == rows


def test_the_page_has_the_mean_and_the_range_over_seeds():
    def row(seed, value, subject="ctc, 1h, fine-tuned"):
        return Row(
            benchmark="recognisers", subject=subject, task="", metric="WER test", value=value, seed=seed
        )

    budget = [
        Row(benchmark="recognisers", subject="budget", task="", metric=name, value=2.0)
        for name in ("fine-tuning minutes", "processes")
    ]
    page = recogniser_page.page([*budget, row(0, 0.25), row(1, 0.75)], "recognisers-x")
    assert "| fine-tuned | 50.0% [25.0%, 75.0%] |" in page
