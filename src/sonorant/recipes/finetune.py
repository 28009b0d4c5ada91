"""Fine-tuning: an encoder and some transcribed speech in, a recogniser out."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from sonorant.asr.vocabulary import Vocabulary
from sonorant.config import ConfigError, builtins
from sonorant.data.dataset import DataConfig, Dataset
from sonorant.data.manifest import Clip, Manifest, read
from sonorant.objective import objective_config
from sonorant.recipes.fit import Job, fit, say
from sonorant.recipes.settings import (
    FinetuneConfig,
    best_checkpoint,
    build_objective,
    encoder_settings,
    load_encoder,
    merged,
)
from sonorant.train import checkpoint, distributed

VOCABULARY = "vocabulary.json"


def finetune(config: FinetuneConfig, *, quiet: bool = False) -> Path:
    """Trains a CTC recogniser, or continues, and gives its best checkpoint.

    ConfigError: settings, transcripts or pretrained run do not go together.
    """
    with distributed.session(config.train.processes, partial(finetune, config, quiet=True)):
        return fit(job(config, quiet=quiet), quiet=quiet)


def job(config: FinetuneConfig, *, quiet: bool) -> Job:
    """What a fine-tuning run trains, on what. ConfigError: as `finetune` has it."""
    clips = transcribed(Path(config.data.manifest))
    vocabulary = Vocabulary.of((clip.text or "" for clip in clips), normalisation=config.normalisation)
    if "labels" in config.objective:
        raise ConfigError("objective.labels: follows from the transcripts (leave it out)")
    method = objective_config({"name": "ctc", **config.objective, "labels": len(vocabulary)})
    if config.train.shard:
        raise ConfigError("train.shard: is for pretraining (leave it out)")
    settings = builtins(config)
    pretrained = best_checkpoint(Path(config.pretrained))
    settings["encoder"] = merged(encoder_settings(pretrained), config.encoder)
    torch.manual_seed(config.seed)  # with or without pretraining, so that the head starts alike
    encoder = load_encoder(pretrained, untrained=config.from_scratch, changes=config.encoder)
    objective = build_objective(method, encoder, config.data)
    dataset = labelled_dataset(clips, config.data, vocabulary)
    minutes = dataset.seconds.sum() / 60
    start = "new weights" if config.from_scratch else f"weights of {pretrained}"
    say(f"{len(dataset.clips)} utterances, {minutes:.1f} min, {len(vocabulary)} labels; {start}", quiet=quiet)
    validation = None
    if config.data.validation is not None:
        validation = labelled_dataset(transcribed(Path(config.data.validation)), config.data, vocabulary)
    distributed.first(partial(_keep, vocabulary, Path(config.out)))
    return Job(
        run=Path(config.out),
        objective=objective,
        dataset=dataset,
        config=config.train,
        seed=config.seed,
        settings=settings,
        validation=validation,
    )


def _keep(vocabulary: Vocabulary, run: Path) -> None:
    """Writes a run's vocabulary. ConfigError: training has begun with another one, which it needs."""
    file = run / VOCABULARY
    if file.exists() and checkpoint.latest(run) is not None:
        if Vocabulary.load(file) != vocabulary:
            raise ConfigError(
                f"{run}: was begun with transcripts of other characters "
                "(continue with the same ones, or choose another `out`)"
            )
    else:
        run.mkdir(parents=True, exist_ok=True)
        vocabulary.save(file)


def transcribed(path: Path) -> Manifest:
    """The clips of a manifest that have a text. ConfigError: none has."""
    clips = read(path)
    clips = clips.where(clips.transcribed)
    if not clips:
        raise ConfigError(f"{path}: no clip has a text (fine-tuning needs transcripts)")
    return clips


def labelled_dataset(clips: Sequence[Clip], config: DataConfig, vocabulary: Vocabulary) -> Dataset:
    """Clips with the labels of their texts; characters that training never saw are skipped."""
    return Dataset(clips, config, lambda clip: vocabulary.labels(clip, skip_unknown=True))
