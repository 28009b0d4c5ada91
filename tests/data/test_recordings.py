"""Guards a user's own noise, rooms and voices: all of them come up, and mistakes are told in one line."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sonorant.config import ConfigError
from sonorant.data.manifest import Clip, write
from sonorant.data.recordings import Recordings, sounds
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.nn.distortions import DistortionConfig
from sonorant.nn.views import ViewConfig
from sonorant.objective import objective_config
from sonorant.types import Batch, pad


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def folder(tmp_path):
    """Three recordings of a second, each of one level."""
    for number in (1, 2, 3):
        path = tmp_path / "noise" / f"part{number % 2}" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(8000, number / 10), 8000)
    (tmp_path / "noise" / "README.txt").write_text("no audio")
    return tmp_path / "noise"


def levels(recordings):
    return [round(float(recordings.draw(generator(seed)).mean()), 2) for seed in range(40)]


def test_every_file_below_a_folder_comes_up_at_the_rate(folder):
    recordings = Recordings(folder, 16000, key="noises")
    assert len(recordings.draw(generator())) == 16000
    first = levels(recordings)
    assert set(first) == {0.1, 0.2, 0.3}
    assert levels(Recordings(folder, 16000, key="noises")) == first


def test_a_manifest_gives_its_clips(folder, tmp_path):
    clips = [
        Clip(f"clip{start}", str(folder / "part0" / "2.wav"), start=start, samples=2000)
        for start in (0, 4000)
    ]
    write(tmp_path / "noise.jsonl", clips)
    recordings = Recordings(tmp_path / "noise.jsonl", 8000, key="noises")
    assert {len(recordings.draw(generator(seed))) for seed in range(9)} == {2000}


def test_a_file_is_read_once_and_only_when_it_is_drawn(folder, monkeypatch):
    recordings = Recordings(folder, 8000, key="noises")
    first = levels(recordings)
    for path in folder.rglob("*.wav"):
        path.unlink()
    assert levels(recordings) == first
    assert copy.deepcopy(recordings) is recordings
    with pytest.raises(ConfigError, match=r"noises: .*has no audio files"):
        Recordings(folder, 8000, key="noises")


def test_what_does_not_fit_into_memory_is_read_again(folder, monkeypatch):
    monkeypatch.setattr("sonorant.data.recordings._CACHE_SECONDS", 1)
    recordings = Recordings(folder, 8000, key="noises")
    assert set(levels(recordings)) == {0.1, 0.2, 0.3}
    for path in folder.rglob("*.wav"):
        path.unlink()
    with pytest.raises(ConfigError, match=r"noises: .*\d\.wav: cannot be read"):
        levels(recordings)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "objective.distortions.rooms: {path}: cannot be read: No such file"),
        ({}, "objective.distortions.rooms: {path}: has no audio files"),
        ({"a.wav": b"not audio"}, "objective.distortions.rooms: {path}/a.wav: not audio"),
        ({"a.wav": b""}, "objective.distortions.rooms: {path}/a.wav: is empty"),
        ({"a.wav": np.zeros(500)}, "objective.distortions.rooms: {path}/a.wav: is silent"),
    ],
)
def test_mistakes_name_setting_and_file(tmp_path, content, told):
    path = tmp_path / "rooms"
    if content is not None:
        path.mkdir()
    for name, value in (content or {}).items():
        if isinstance(value, bytes):
            (path / name).write_bytes(value)
        else:
            soundfile.write(path / name, value, 16000)
    with pytest.raises(ConfigError, match=re.escape(told.format(path=path))) as caught:
        sounds(DistortionConfig(rooms=str(path)), 16000, key="objective.distortions").rooms.draw(generator())
    assert "\n" not in str(caught.value)


def test_each_setting_is_what_it_says(folder):
    heard = sounds(DistortionConfig(voices=str(folder)), 8000, key="distortions")
    assert (heard.noises, heard.rooms) == (None, None)
    assert isinstance(heard.voices, Recordings)
    heard = sounds(ViewConfig(noises=str(folder)), 8000, key="views")
    assert (heard.voices, heard.rooms) == (None, None)
    assert isinstance(heard.noises, Recordings)


@pytest.mark.parametrize("name", ["simclr", "moco", "byol", "simsiam", "barlow_twins", "vicreg"])
def test_methods_with_two_views_hear_recordings(name, folder):
    def loss(**views):
        torch.manual_seed(0)
        encoder = build(
            EncoderConfig(frontend=LogMelConfig(mels=8, stack=2), context=GRUConfig(dim=8, layers=1))
        )
        method = objective_config({"name": name, "dim": 6, "views": {"noise": 1.0, **views}})
        waves = [torch.rand(8000, generator=generator(row)) - 0.5 for row in range(3)]
        return float(method.build(encoder)(Batch(pad(waves), (0, 1, 2))).total.detach())

    assert loss() == loss()
    assert loss(noises=str(folder)) != loss()
    with pytest.raises(ConfigError, match=r"^objective\.views\.rooms: "):
        loss(rooms=str(Path(folder) / "nowhere"))
