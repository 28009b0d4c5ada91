"""What a path stands for where features are extracted: a run, a checkpoint, or a published model."""

import json
from pathlib import Path

from sonorant.encoders.base import Upstream
from sonorant.recipes.settings import best_checkpoint, encoder_settings, load_encoder
from sonorant.train import checkpoint
from sonorant.upstreams import saved
from sonorant.upstreams.load import load


def origin(path: Path) -> Path:
    """The best checkpoint of a run; a checkpoint or another folder itself."""
    return best_checkpoint(path) if _is_run(path) else path


def load_upstream(path: Path, *, untrained: bool = False) -> Upstream:
    """The encoder of a run or checkpoint, or the published model of a folder; `untrained` with new weights.

    ConfigError: the folder holds neither. CheckpointError: a checkpoint cannot be read.
    """
    if _is_run(path):
        return load_encoder(path, untrained=untrained)
    return load(path, untrained=untrained)


def described(path: Path) -> str:
    """What beside its weights makes the upstream of a path what it is, as text."""
    if _is_run(path):
        return json.dumps(encoder_settings(path), sort_keys=True)
    return json.dumps(saved.config(path), sort_keys=True)


def _is_run(path: Path) -> bool:
    return (path / "state.json").exists() or checkpoint.latest(path) is not None
