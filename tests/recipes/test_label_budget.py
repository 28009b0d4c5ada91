"""Guards fine-tuning by the hours of transcripts: which schedule they are given, and how it is scaled."""

import json

import msgspec
import pytest

from sonorant.config import ConfigError
from sonorant.data.manifest import read, write
from sonorant.recipes import label_budget
from sonorant.recipes.label_budget import SCHEDULES, nearest, plan, told
from sonorant.train import checkpoint

TINY = ["train.steps=2", "train.processes=1", "data.workers=0", "objective.freeze_context=1"]


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.setattr(label_budget, "processes", lambda: 2)


def test_the_published_figures():
    """By hand from the four files that the module names."""
    found = {each.name: each[2:7] for each in SCHEDULES}
    assert found == {
        "10 min": (13000, 10000, 5e-5, 0.25, 0.1),
        "1 h": (13000, 10000, 5e-5, 0.25, 0.1),
        "10 h": (20000, 10000, 5e-5, 0.5, 0.05),
        "100 h": (80000, 0, 3e-5, 0.5, 0.1),
    }


@pytest.mark.parametrize(
    ("hours", "name"),
    [
        (0.01, "10 min"),
        (0.4, "10 min"),
        (0.42, "1 h"),
        (3.1, "1 h"),
        (3.2, "10 h"),
        (32, "100 h"),
        (960, "100 h"),
    ],
)
def test_hours_are_given_the_nearest_schedule(hours, name):
    assert nearest(hours).name == name


def with_hours(speech, hours, folder):
    """The fixtures' clips, so that their lengths sum to so many hours; they could not be read."""
    clips = list(read(speech))
    longer = hours * 3600 / sum(clip.seconds for clip in clips)
    path = folder / f"{hours:g}h.jsonl"
    write(path, [msgspec.structs.replace(each, samples=round(each.samples * longer)) for each in clips])
    return path


@pytest.fixture
def wide(pretrained, monkeypatch):
    """As if the pretrained encoder had the published width."""
    settings = checkpoint.read_config(checkpoint.step_folder(pretrained))["encoder"]
    settings["context"] = {"name": "transformer", "dim": 768, "layerdrop": 0.0}
    monkeypatch.setattr(label_budget, "encoder_settings", lambda folder: settings)


@pytest.mark.parametrize(
    ("hours", "steps", "waiting", "peak", "seconds", "channels", "layerdrop"),
    [
        (1 / 6, 1300, 1000, 5e-4, 16, 0.25, 0.1),
        (1, 1300, 1000, 5e-4, 32, 0.25, 0.1),
        (10, 2000, 1000, 5e-4, 80, 0.5, 0.05),
        (100, 8000, 0, 3e-4, 160, 0.5, 0.1),
    ],
)
def test_a_tenth_of_the_updates_at_ten_times_the_rates(
    hours, steps, waiting, peak, seconds, channels, layerdrop, speech, pretrained, tmp_path, alone, wide
):
    config = plan(with_hours(speech, hours, tmp_path), pretrained, runs=tmp_path).config
    train, objective = config.train, config.objective
    assert (train.steps, objective["freeze_context"], train.processes) == (steps, waiting, 2)
    assert (train.schedule.decay, train.schedule.peak) == ("tri_stage", pytest.approx(peak))
    assert (config.data.batch_seconds, objective["channel_mask_probability"]) == (seconds, channels)
    assert config.data.speeds == (0.9, 1.0, 1.1)
    assert config.encoder == {"context": {"layerdrop": layerdrop}}
    assert (objective["time_mask_probability"], objective["channel_mask_length"]) == (0.65, 64)
    assert objective["time_mask_length"] == 5  # of 25 frames a second, where there were 50


@pytest.mark.parametrize(
    ("hours", "steps", "peak", "seconds"),
    [(1 / 6, 2600, 1e-3, 8), (1, 5200, 1e-3, 8), (10, 8000, 1e-3, 20), (100, 32000, 6e-4, 40)],
)
def test_narrow_encoders_learn_at_once_from_smaller_batches(
    hours, steps, peak, seconds, speech, pretrained, tmp_path, alone
):
    config = plan(with_hours(speech, hours, tmp_path), pretrained, runs=tmp_path).config
    train, objective = config.train, config.objective
    assert (train.steps, objective["freeze_context"]) == (steps, 0)
    assert train.schedule.peak == pytest.approx(peak)
    assert config.data.batch_seconds == seconds  # of each of two processes
    assert (objective["time_mask_probability"], objective["channel_mask_probability"]) == (0.3, 0.1)
    assert config.encoder == {"context": {"dropout": 0.1}}  # a GRU, which drops no layers
    assert objective["channel_mask_length"] == 1  # of 16


def test_new_weights_are_not_kept_waiting(speech, pretrained, tmp_path, wide):
    found = [
        plan(speech, pretrained, ["from_scratch=true", *words], runs=tmp_path).config.objective
        for words in ([], ["objective.freeze_context=7"])
    ]
    assert [each["freeze_context"] for each in found] == [0, 7]


def test_what_is_chosen_is_told_in_a_line(speech, pretrained, tmp_path, alone, wide):
    line = told(plan(speech, pretrained, runs=tmp_path))
    assert "\n" not in line
    for part in (
        "ctc, 3 min of transcripts",
        "for 10 min",
        "1300 updates",
        "2 x 16 s",
        "0.0005",
        "from 1000 on",
    ):
        assert part in line
    frozen = told(plan(speech, pretrained, ["objective.freeze_context=always"], runs=tmp_path))
    assert "the encoder stays as it is" in frozen


def test_a_folder_becomes_a_recogniser_and_the_same_command_goes_on(
    sonorant, speech, pretrained, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "transcribed"
    folder.mkdir()
    for clip in list(read(speech))[:12]:
        audio = speech.parent / clip.path
        (folder / audio.name).symlink_to(audio)
        (folder / audio.name).with_suffix(".txt").write_text(clip.text)
    command = ["finetune", folder, "--from", pretrained, *TINY]
    done = sonorant(*command)
    assert done.code == 0, done.err
    assert "the schedule for 10 min, after wav2vec 2.0's" in done.err
    assert done.out.strip().startswith("best checkpoint: runs/transcribed-from-pretrained/step_")
    assert sonorant(*command).out == done.out
    settings = json.loads((tmp_path / done.out.split(": ")[1].strip() / "config.json").read_text())
    assert settings["data"]["manifest"] == "runs/transcribed-from-pretrained-speech/transcribed.jsonl"


def test_bad_sources_are_told(sonorant, speech, pretrained, tmp_path):
    silent = tmp_path / "silent.jsonl"
    write(silent, [msgspec.structs.replace(clip, text=None) for clip in read(speech)])
    with pytest.raises(ConfigError, match=r"silent\.jsonl: no clip has a text"):
        plan(silent, pretrained, runs=tmp_path)
    with pytest.raises(ConfigError, match="nowhere: no such folder or manifest"):
        plan(tmp_path / "nowhere", pretrained, runs=tmp_path)
    failed = sonorant("finetune", speech, "--from", tmp_path / "none")
    assert failed.code in (1, 2)
    assert len(failed.err.strip().splitlines()) == 1
    assert "none" in failed.err
