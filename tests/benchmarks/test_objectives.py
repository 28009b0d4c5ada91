"""Guards the table of objectives: who takes part and how, what is planned, and all stages once."""

import functools
import itertools
import time

import pytest
import yaml
from tiny_models import speech_model

import objectives
from contest import figures, page, scores, stages
from contest.costs import timed, updates
from contest.entries import Budget, Entry
from contest.methods import BOUNDS, UNTRAINED, contestants, known, method, published
from contest.running import plan, run
from contest.small import SPEECH
from sonorant.config import ConfigError
from sonorant.data.manifest import read
from sonorant.evaluate.rows import read_rows
from sonorant.objective import names

BUDGET = Budget(pretraining=5, finetuning=2, processes=2)
SHOW = functools.partial(page.show, [])


def entry(tmp_path, name, **changes):
    (found,) = contestants([name])
    return Entry(
        **{"contestant": found, "seed": 0, "corpus": tmp_path, "root": tmp_path, "budget": BUDGET} | changes
    )


def test_every_self_supervised_objective_takes_part_without_a_list():
    assert set(known()) == {*names(), "pase_plus", "hubert, 2nd", *UNTRAINED, *BOUNDS} - {"ctc", "seq2seq"}
    with pytest.raises(ConfigError, match="--methods: 'apd' is not one of apc, "):
        list(contestants(["apc", "apd"]))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("best_rq", "shared: conformer 4 x 192"),
        ("wav2vec2", "shared: conformer 4 x 192"),
        ("apc", "causal: gru 3 x 256"),
        ("npc", "own context: masked_convolutions 4 x 256"),
    ],
)
def test_methods_take_the_shared_encoder_where_it_fits(name, kind):
    found = method(name)
    assert found.kind == kind
    assert found.encoder["frontend"] == method("best_rq").encoder["frontend"]


def test_a_method_that_fits_nothing_is_told(monkeypatch):
    def refused(settings):
        raise ValueError("odd frames")

    monkeypatch.setattr("contest.methods.objective_config", refused)
    with pytest.raises(ConfigError, match="apc: fits none of the encoders: odd frames"):
        method("apc")


def test_numbers_of_frames_keep_their_duration():
    assert method("mockingjay").objective["mask_length"] == 2  # 4 of 20 ms
    assert method("apc").objective["shift"] == 3  # 100 ms are 2.5 of 40 ms
    assert method("best_rq").objective["length"] == 10  # of 40 ms already


def test_batches_are_alike_but_where_utterances_are_compared():
    assert method("best_rq").batch_seconds(2) == method("apc").batch_seconds(1) == 20
    assert method("simclr").batch_seconds(2) == 120
    assert method("simclr").batch_seconds(1) == 240


def test_a_run_has_the_methods_settings_and_its_length():
    config = method("byol").config(
        out="o", manifest="m", processes=2, seed=4, steps=77, changes={"hidden": 32}
    )
    assert (config.objective["momentum_steps"], config.objective["hidden"]) == (77, 32)
    assert (config.train.steps, config.train.processes, config.seed) == (77, 2, 4)
    assert config.train.schedule.warmup == 0.05
    assert config.data.crop_seconds == 6


def test_the_plan_tells_what_is_left(tmp_path):
    apc, plain = entry(tmp_path, "apc"), entry(tmp_path, "log-mel")
    apc.folder.mkdir(parents=True)
    apc.file("pretrain").touch()
    told = plan([apc, plain]).splitlines()
    assert told[0] == "apc, seed 0: measure 2 min, finetune 2.5 min"
    assert told[1] == "log-mel, seed 0: measure 2 min"
    assert told[2] == "about 0.1 hours in all"
    plain.folder.mkdir(parents=True)
    plain.file("measure").touch()
    assert "log-mel, seed 0: done" in plan([plain])


def test_names_become_folders_and_seeds_go_one_after_the_other(tmp_path):
    found = objectives.entries(["hubert, 2nd", "MFCC"], [0, 1], BUDGET, tmp_path, tmp_path)
    places = [str(each.folder.relative_to(tmp_path)) for each in found]
    assert places == ["seed0/hubert_2nd", "seed0/MFCC", "seed1/hubert_2nd", "seed1/MFCC"]
    with pytest.raises(ConfigError, match="above 0"):
        objectives.entries(["MFCC"], [0], Budget(0, 1, 1), tmp_path, tmp_path)


def test_the_last_loss_is_that_of_the_last_tenth_that_has_one():
    logged = [{"loss": float(step)} for step in range(20)]
    assert stages.last([*logged, {"loss": None}, {"diagnosis": "ill"}], "loss") == [18, 19]
    assert stages.last([{"loss": 4.0}, {"loss": 3.0}], "loss") == [3]


def test_speakers_are_measured_on_other_clips_of_theirs():
    clips = list(read(SPEECH / "manifest.jsonl"))
    spoken = scores.named(clips)
    split = scores.shared_out(spoken)
    speakers = {clip.id: clip.speaker for clip in spoken}
    heard = [{speakers[name] for name in part} for part in (split.train, split.validation, split.test)]
    assert heard[0] == heard[1] == heard[2] == set(speakers.values())
    assert 0.3 < len(split.test) / len(spoken) < 0.4
    few = [clip for clip in clips if clip.speaker == clips[0].speaker][: scores.FEW - 1]
    assert scores.named(few) == []


def test_seconds_of_interrupted_training_are_added_up(tmp_path):
    def spend(*, fail):
        with timed(tmp_path / "seconds.json"):
            sum(range(100_000))
            if fail:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spend(fail=True)
    first = yaml.safe_load((tmp_path / "seconds.json").read_text())
    spend(fail=False)
    both = yaml.safe_load((tmp_path / "seconds.json").read_text())
    assert both[0] > first[0] > 0
    assert both[1] >= first[1] > 0


def test_minutes_are_those_of_the_processor(small, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "process_time", functools.partial(next, itertools.count(0, 2)))
    (found,) = contestants(["hubert"])
    config = found.config(
        out=str(tmp_path / "run"), manifest=str(small / "all.jsonl"), processes=1, seed=0, steps=1, changes={}
    )
    file = tmp_path / "updates.json"
    assert updates(file, config, 1) == 29  # 2 s to prepare and 2 s for each step
    assert yaml.safe_load(file.read_text()) == {"updates": 29, "prepare": 2, "step": 2}


def test_all_stages_once(small, tmp_path, monkeypatch, capsys):
    budget, file = Budget(0.004, 0.004, 1), tmp_path / "objectives-day.jsonl"
    wanted = ["hubert, 2nd", "log-mel stacked"]
    chosen = objectives.entries(wanted, [3], budget, small, tmp_path / "runs")
    assert run(chosen, file, SHOW) == 0
    kept = read_rows(file)
    found = {(each.subject, each.metric): each for each in kept if each.seed == 3}
    mine = {metric for subject, metric in found if subject == "hubert, 2nd"}
    assert mine >= {*page.COLUMNS, page.HEALTH, "WER dev", "WER test"}
    free = {page.NATS, figures.OWN, figures.RANKME, figures.EFFECTIVE, figures.PNMI, figures.PURITY}
    measured = {*free, page.PHONES, figures.SPEAKERS}
    measured |= {figures.of_layer(metric) for metric in measured}
    assert {metric for subject, metric in found if subject == wanted[1]} == measured
    hubert = [each for each in kept if each.subject == "hubert, 2nd"]
    layers = {each.task: each.value for each in hubert if each.metric == figures.of_layer(page.NATS)}
    assert set(layers) == {"layer_0", "layer_1"}
    best = {found["hubert, 2nd", metric].task for metric in free}
    assert best == {max(layers, key=layers.get)}  # by the label-free score
    for metric in measured:
        ofs = {each.task: each.value for each in hubert if each.metric == figures.of_layer(metric)}
        if ofs:
            assert found["hubert, 2nd", metric].value == ofs[found["hubert, 2nd", metric].task]
    assert found["hubert, 2nd", "updates"].value >= 2  # of both iterations
    assert not list(tmp_path.rglob("features"))
    teacher = (chosen[0].folder / "pretrain").glob("step_*/config.json")
    assert all(yaml.safe_load(each.read_text())["objective"]["teacher_layer"] == 1 for each in teacher)

    def never(*_, **__):
        raise AssertionError("a stage that has ended was repeated")

    monkeypatch.setattr(stages, "STAGES", dict.fromkeys(stages.STAGES, never))
    assert run(chosen, file, SHOW) == 0
    assert sorted(map(str, read_rows(file))) == sorted(map(str, kept))


def test_a_published_model_is_measured_and_no_more(small, tmp_path):
    speech_model("hubert", tmp_path / "hubert")
    budget, file = Budget(0.004, 0.004, 1), tmp_path / "objectives-day.jsonl"
    others = published([f"HuBERT tiny={tmp_path / 'hubert'}"])
    chosen = objectives.entries([], [0], budget, small, tmp_path / "runs", others=others)
    assert plan(chosen).startswith("HuBERT tiny, seed 0: measure 2 min\n")
    assert run(chosen, file, SHOW) == 0
    rows = {each.metric: each for each in read_rows(file) if each.subject == "HuBERT tiny"}
    assert rows.keys() >= {page.NATS, page.PHONES, figures.SPEAKERS}
    assert not rows.keys() & {page.CER, "updates", "fine-tuning updates"}
    assert rows[page.PHONES].task in ("input", "layer_0", "layer_1")


def test_networks_of_an_earlier_table_are_measured_on_another_corpus(small, tmp_path, capsys):
    budget, file = Budget(0.004, 0.004, 1), tmp_path / "objectives-day.jsonl"
    first = objectives.entries(["hubert"], [0], budget, small, tmp_path / "first")
    names = ["hubert", "log-mel"]
    taken = functools.partial(
        objectives.entries, names, [0], budget, small, tmp_path / "second",
        pretrained=(tmp_path / "first").resolve(),
    )  # fmt: skip
    second = taken()
    assert run(second, file, SHOW) == 1
    assert (
        f"{tmp_path / 'first' / 'seed0' / 'hubert'}: nothing is pretrained there" in capsys.readouterr().err
    )
    earlier = stages.stage_rows(first[0], "pretrain")
    assert run(taken(stages=["pretrain", "measure"]), file, SHOW) == 0
    assert [each.left for each in second] == [["finetune"], []]
    assert run(second, file, SHOW) == 0
    rows = read_rows(file)
    assert {each.subject for each in rows} == {"budget", *names}
    assert set(map(str, earlier)) <= set(map(str, rows))
    assert (second[0].folder / "pretrain").resolve() == first[0].folder / "pretrain"
    assert page.CER in {each.metric for each in rows if each.subject == "hubert"}
    assert not (first[0].folder / "finetune").exists()


def test_published_models_need_a_name_of_their_own_and_a_folder(tmp_path):
    for word in ("hubert", f"={tmp_path}", "mine=", f"mine={tmp_path / 'nosuch'}"):
        with pytest.raises(ConfigError, match=f"--upstream: '{word}': expected NAME=FOLDER"):
            published([word])
    for words in ([f"hubert={tmp_path}"], [f"mine={tmp_path}", f"mine={tmp_path}"]):
        with pytest.raises(ConfigError, match="is a contestant already"):
            published(words)


def test_an_interrupted_stage_goes_on_and_one_that_fails_does_not_stop_the_others(
    small, tmp_path, monkeypatch, capsys
):
    budget, file = Budget(0.004, 0.004, 1), tmp_path / "objectives-day.jsonl"
    names = ["untrained, causal", "log-mel"]
    chosen = objectives.entries(names, [0], budget, small, tmp_path / "runs")
    whole = stages.finetuning.finetune

    def broken(config):
        whole(config)
        raise ValueError("a process is gone")

    monkeypatch.setattr(stages.finetuning, "finetune", broken)
    assert run(chosen, file, SHOW) == 1
    assert "untrained, causal, seed 0: a process is gone" in capsys.readouterr().err
    assert {each.subject for each in read_rows(file)} == {"budget", *names}
    assert chosen[0].left == ["finetune"]
    monkeypatch.setattr(stages.finetuning, "finetune", whole)
    monkeypatch.setattr(
        "contest.costs.cost", lambda config: pytest.fail("the number of updates was fixed already")
    )
    assert run(chosen, file, SHOW) == 0
    assert chosen[0].left == []
    rates = [each for each in read_rows(file) if each.metric == page.CER]
    assert [each.subject for each in rates] == ["untrained, causal"]
