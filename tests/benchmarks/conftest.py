"""The fixtures as a corpus, with settings that take seconds."""

import functools

import pytest
import torch
import yaml

from contest import scores
from contest.small import small_corpus
from sonorant.recipes import shipped

ENCODER = {
    "frontend": {"name": "log_mel", "mels": 20, "stack": 4},
    "context": {"name": "gru", "dim": 16, "layers": 2},
}
TRAIN = {"schedule": {"peak": 1e-3}, "log_every": 1}
SMALL = {
    "demo_pretrain": {
        "data": {"batch_seconds": 20, "workers": 0},
        "encoder": ENCODER,
        "objective": {},
        "train": {"minutes": 1, **TRAIN},
    },
    "hubert": {
        "data": {"workers": 0, "crop_seconds": 2},
        "encoder": ENCODER,
        "objective": {"codes": [4], "fit_hours": 0.01},
        "train": {"steps": 9, **TRAIN},
    },
    "demo_finetune": {
        "data": {"batch_seconds": 40, "crop_seconds": None, "workers": 0},
        "encoder": {"context": {"dropout": 0.1}},
        "objective": {},
        "train": {"minutes": 1, "log_every": 1, "schedule": {"peak": 1e-3}},
    },
}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The fixtures as a corpus, and settings that take seconds."""
    folder = tmp_path / "configs"
    folder.mkdir()
    for name, settings in {**SMALL, "apc": {**SMALL["hubert"], "objective": {"shift": 1}}}.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.setattr(shipped, "FOLDER", folder)
    for name in ("InformationConfig", "ProbeConfig"):
        less = functools.partial(getattr(scores, name), updates=20, frames=1000)
        monkeypatch.setattr(scores, name, less)
    monkeypatch.setattr(scores, "RATES", (1e-2,))
    monkeypatch.setattr(scores, "CLUSTERS", 8)
    monkeypatch.setattr("contest.methods.SECOND", {"hubert": {"codes": [6]}})
    monkeypatch.setattr("contest.costs.TIMED", 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield small_corpus(tmp_path / "corpus")
    torch.set_num_threads(threads)
