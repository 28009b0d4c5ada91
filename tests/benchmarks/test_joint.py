"""Guards the comparison of joint training's variants: each differs in one thing, and shares the rest."""

import json
from dataclasses import replace

import pytest

import cjt
from contest import joint, joint_page, whisper
from contest.experiments import Experiment
from contest.joint import CJT, EXPERIMENT, FIRST, PLUS, SECOND, SEED, VARIANTS, Setup
from sonorant.config import builtins
from sonorant.data.manifest import Clip, write
from sonorant.evaluate.rows import Row
from sonorant.recipes.settings import differences


@pytest.fixture
def setup(tmp_path, monkeypatch):
    monkeypatch.setattr(joint, "updates", lambda file, config, minutes: 7)
    monkeypatch.setattr(joint, "_referenced", lambda setup: setup.root / "speech.jsonl")
    return Setup(tmp_path / "run", tmp_path / "corpus", "10m", tmp_path / "root", minutes=1.0)


def test_variants_differ_in_one_thing(setup):
    def changed(variant, base):
        configs = [builtins(joint.joint_config(setup, each, 3)) for each in (base, variant)]
        return [
            each.partition(" was ")[0] for each in differences(*({**each, "out": ""} for each in configs))
        ]

    assert changed(PLUS, CJT) == ["rounds"]
    assert changed(SEED, CJT) == []
    assert changed("pseudo-labels only", CJT) == changed("synthetic audio only", CJT) == ["only"]
    for variant in VARIANTS:
        config = joint.joint_config(setup, variant, 3)
        assert (config.finetune.seed, config.finetune.train.steps) == (3, 7)
        if variant.startswith("CJT++,"):
            assert len(changed(variant, PLUS)) == 1
        assert (config.rounds == 2) == (variant in joint.TWICE)
    assert changed("CJT, afresh", CJT) == ["afresh"]
    assert changed("CJT twice", PLUS) == ["complementary.block", "mask.kind"]
    plus = joint.joint_config(setup, PLUS, 3)
    assert (plus.mask.kind, plus.complementary.block) == ("conf", 0.5)


def test_what_is_the_same_is_made_once_and_only_when_it_has_ended(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "synthetic").mkdir(parents=True)
    (one / "seed").mkdir()  # not trained to the end
    (one / "pseudo.jsonl").write_text("labels")
    joint.link(two, [two, one], FIRST)
    assert {path.name for path in two.iterdir()} == {"pseudo.jsonl"}
    (one / "synthetic.jsonl").write_text("clips")
    joint.link(two, [one], FIRST)
    assert {path.name for path in two.iterdir()} == {"pseudo.jsonl", "synthetic", "synthetic.jsonl"}
    assert (two / "pseudo.jsonl").read_text() == "labels"
    assert "joint" in SECOND
    assert "joint" not in FIRST


def test_claims_are_about_variants_and_the_page_tells_the_rows(tmp_path):
    assert isinstance(EXPERIMENT, Experiment)
    for claim in EXPERIMENT.claims:
        assert {*claim.more, *claim.less} <= {*joint.NETWORKS}
        assert claim.metric in joint_page.COLUMNS

    def row(variant, value, seed):
        return Row(
            benchmark="cjt", subject=EXPERIMENT.subject(variant), task="10m", metric="WER test", value=value,
            low=value - 0.01, high=value + 0.01, seed=seed, commit="abc", machine="m",
        )  # fmt: skip

    twice = "CJT twice"
    rows = [row(twice, 0.40, 0), row(twice, 0.44, 1), row(PLUS, 0.30, 0), row(PLUS, 0.34, 1)]
    setup = Setup(tmp_path, tmp_path, "10m", tmp_path, minutes=1.0)
    file = tmp_path / "cjt-10m-day.jsonl"
    cjt.keep(file, rows, cjt.budget(setup), joint_page.show)
    text = file.with_suffix(".md").read_text()
    assert "| CJT twice | 42.0% [40.0%, 44.0%] |" in text
    assert "| WER test | CJT twice | CJT++ | +10.0 [+8.6, +11.4] | 2 | **holds** |" in text
    assert "--part 10m --minutes 1 --processes 1 --seeds 0 1`" in text


def test_whisper_is_held_against_all_that_is_said_in_a_stretch(tmp_path, setup, monkeypatch):
    manifest, told = tmp_path / "test.jsonl", tmp_path / "told.json"
    texts = {"a": "One, two!", "b": "Three", "c": None}
    write(
        manifest,
        [Clip(name, f"{name}.wav", samples=9, rate=16000, text=text) for name, text in texts.items()],
    )
    told.write_text(json.dumps([{"ids": ["a", "b"], "text": " 1, Three."}, {"ids": ["c"], "text": ""}]))
    assert whisper.pairs(manifest, told) == [("one two three", "1 three"), ("", "")]

    monkeypatch.setattr(joint, "has_whisper", lambda: True)
    monkeypatch.setattr(joint, "heard", lambda manifest: [("a b", "a c")])
    setup.root.mkdir()
    file = tmp_path / "cjt-10m-day.jsonl"
    cjt.keep(file, joint.whisper_rows(setup), cjt.budget(setup), joint_page.show)
    assert "| Whisper tiny.en | 50.0% " in file.with_suffix(".md").read_text()
    assert joint.whisper_rows(replace(setup, language="ru")) == []
