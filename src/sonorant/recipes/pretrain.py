"""Pretraining: untranscribed speech in, an encoder and its label-free scores out."""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from sonorant.config import ConfigError, builtins
from sonorant.data.dataset import Dataset
from sonorant.data.manifest import Clip, read
from sonorant.encoders.base import FRONTEND, Encoder
from sonorant.encoders.build import build
from sonorant.evaluate.information import Score, label_free
from sonorant.evaluate.sampling import SamplingError, split
from sonorant.evaluate.store import FeatureStore
from sonorant.objective import objective_config
from sonorant.recipes.features import TARGETS, extract_to_score, first_minutes
from sonorant.recipes.fit import Job, fit, say
from sonorant.recipes.settings import PretrainConfig, ScoreConfig, build_objective
from sonorant.train import distributed


def pretrain(config: PretrainConfig, *, quiet: bool = False) -> Path:
    """Trains, or continues, and gives the checkpoint with the best label-free score (or the last one).

    ConfigError: settings do not go together.
    """
    with distributed.session(config.train.processes, partial(pretrain, config, quiet=True)):
        return fit(job(config, quiet=quiet), quiet=quiet)


def job(config: PretrainConfig, *, quiet: bool) -> Job:
    """What a pretraining run trains, on what. ConfigError: as `pretrain` has it."""
    method = objective_config(config.objective)
    torch.manual_seed(config.seed)
    objective = build_objective(method, build(config.encoder), config.data)
    dataset = Dataset(read(Path(config.data.manifest)), config.data)
    run, layers = Path(config.out), config.encoder.context.layers
    score = None if config.score is None else _scoring(config.score, layers, run)
    hours = dataset.seconds.sum() / 3600
    weights = sum(each.numel() for each in objective.encoder.parameters()) / 1e6
    padding = dataset.plan(config.seed, 0).padding_share()
    say(
        f"{len(dataset.clips)} utterances, {hours:.2f} h ({dataset.skipped} too short); "
        f"padding {padding:.1%}; encoder of {weights:.1f} M parameters",
        quiet=quiet,
    )
    return Job(
        run=run,
        objective=objective,
        dataset=dataset,
        config=config.train,
        seed=config.seed,
        settings=builtins(config),
        validation=_validation(config),
        score=score,
        patience=None if config.score is None else config.score.patience,
    )


def _validation(config: PretrainConfig) -> Dataset | None:
    if config.data.validation is None:
        return None
    return Dataset(read(Path(config.data.validation)), config.data)


def _scoring(config: ScoreConfig, layers: int, run: Path) -> Callable[[Encoder, int], dict[str, float]]:
    """The score of a checkpoint. ConfigError: it will not work, which is better told before training."""
    clips = first_minutes(read(Path(config.manifest)), config.minutes)
    try:
        split([clip.id for clip in clips])
    except SamplingError as error:
        raise ConfigError(f"score.manifest: {error}") from error
    names = [f"layer_{number}" for number in range(layers)]
    if unknown := [name for name in config.layers or () if name not in names]:
        raise ConfigError(f"score.layers: {unknown[0]!r} is not one of {', '.join(names)}")
    return lambda encoder, step: _score(encoder, config, clips, run / "scoring", step)


def _score(
    encoder: Encoder, config: ScoreConfig, clips: Sequence[Clip], folder: Path, step: int
) -> dict[str, float]:
    """The label-free score of the best layer with its interval, and which layer that is."""
    shutil.rmtree(folder, ignore_errors=True)
    extract_to_score(encoder, clips, folder, provenance={"step": step})
    encoder.train()
    scores = label_free_scores(folder, config)
    shutil.rmtree(folder)
    best = max(scores, key=lambda name: scores[name].bound.nats)
    bound, number = scores[best].bound, float(best.rpartition("_")[2])
    return {"score": bound.nats, "score_low": bound.low, "score_high": bound.high, "score_layer": number}


def label_free_scores(folder: Path, config: ScoreConfig) -> dict[str, Score]:
    """What each layer tells of the clusters of spectral shapes 0.1 s on."""
    store, targets = FeatureStore(folder), FeatureStore(folder / TARGETS)
    names = config.layers or tuple(name for name in store.layers if name != FRONTEND)
    return {
        name: label_free(
            store, name, config.information, targets=targets, target_layer=FRONTEND, control=False
        )
        for name in names
    }
