"""Guards pretraining by a budget: a folder and a time are all that it needs."""

import pytest

from sonorant.config import ConfigError, load
from sonorant.data.manifest import read, write
from sonorant.recipes import budget
from sonorant.recipes.shipped import shipped

TINY = [
    "encoder={frontend: {name: log_mel, mels: 20, stack: 4}, context: {name: gru, dim: 16, layers: 2}}",
    *("objective={name: apc, shift: 1}", "data.batch_seconds=8", "data.crop_seconds=2", "data.workers=0"),
    *("train.minutes=null", "train.steps=4", "train.processes=1", "train.checkpoint_every=2"),
]
SCORED = ["score.information={codes: 8, updates: 20, frames: 2000}"]


@pytest.mark.parametrize(("text", "expected"), [("10m", 10), ("90min", 90), ("1.5h", 90), ("1 h", 60)])
def test_times_are_read(text, expected):
    assert budget.minutes(text) == expected


@pytest.mark.parametrize("text", ["", "10", "h", "0m", "-1h", "1d", "1h30"])
def test_what_is_no_time_is_told(text):
    with pytest.raises(ConfigError, match=r"--budget: .* is no time"):
        budget.minutes(text)


def test_every_recipe_is_shipped_and_one_serves_any_time():
    assert budget.RECIPES[0][0] == 0
    assert sorted(budget.RECIPES) == list(budget.RECIPES)
    for _, name in budget.RECIPES:
        assert load(shipped(name))["objective"]["name"]


def test_the_longest_recipe_that_fits_is_taken(speech, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "RECIPES", ((0.0, "best_rq"), (60.0, "apc")))
    short, long = (budget.plan(speech, time, TINY[3:], runs=tmp_path) for time in ("59m", "1h"))
    assert (short.recipe, long.recipe) == ("best_rq", "apc")
    assert short.config.objective["name"] == "best_rq"


def test_speech_is_shared_out_once_and_no_clip_is_in_both(speech, tmp_path):
    planned = budget.plan(speech, "20m", runs=tmp_path)
    train, held_out = (
        list(read(tmp_path / "manifest-20m-speech" / f"{name}.jsonl")) for name in ("train", "held_out")
    )
    everything = list(read(speech))
    assert {clip.id for clip in train} | {clip.id for clip in held_out} == {clip.id for clip in everything}
    assert not {clip.id for clip in train} & {clip.id for clip in held_out}
    assert 0 < sum(clip.seconds for clip in held_out) <= 0.1 * sum(clip.seconds for clip in everything)
    assert planned.config.train.minutes == pytest.approx(17)
    assert planned.config.score is not None
    (tmp_path / "manifest-20m-speech" / "train.jsonl").write_text("")
    assert budget.plan(speech, "20m", runs=tmp_path).config == planned.config
    assert (tmp_path / "manifest-20m-speech" / "train.jsonl").read_text() == ""


def test_a_folder_is_trained_on_and_the_same_command_goes_on(sonorant, speech, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["pretrain", speech.parent, "--budget", "10m", *TINY, *SCORED]
    done = sonorant(*command)
    assert done.code == 0, done.err
    assert "apc (" in done.err
    assert "each checkpoint is scored on speech held out; run: runs/speech-10m" in done.err
    best = done.out.strip()
    assert best.startswith("best checkpoint: runs/speech-10m/step_")
    assert sonorant(*command).out.strip() == best


def test_too_little_speech_to_score_on_is_said(few, tmp_path):
    write(tmp_path / "few.jsonl", read(few)[:12])
    planned = budget.plan(tmp_path / "few.jsonl", "10m", TINY, runs=tmp_path)
    assert planned.config.score is None
    assert "too little speech to score on" in budget.told(planned)
    assert len(read(tmp_path / "few-10m-speech" / "train.jsonl")) == 12


def test_a_source_that_is_not_there_is_named(sonorant, tmp_path):
    done = sonorant("pretrain", tmp_path / "nosuch", "--budget", "10m")
    assert done.code == 2
    assert "nosuch: no such folder or manifest" in done.err
