"""Fine-tuning: an encoder and some transcribed speech in, a recogniser out."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from sonorant.asr.confidences import label_confidences
from sonorant.asr.subwords import VocabularyConfig, learn, load_vocabulary
from sonorant.asr.vocabulary import Spelling, VocabularyError
from sonorant.config import ConfigError, builtins
from sonorant.data.alternation import Alternation
from sonorant.data.dataset import DataConfig, Dataset
from sonorant.data.label_masks import LabelMaskConfig, label_weights
from sonorant.data.manifest import Clip, Manifest, read
from sonorant.data.mixture import Mixture
from sonorant.recipes.fit import Job, fit, say
from sonorant.recipes.recogniser import VOCABULARY, go_on, recogniser_config, usual_layer
from sonorant.recipes.settings import (
    FinetuneConfig,
    JointConfig,
    PseudoConfig,
    best_checkpoint,
    build_objective,
    encoder_settings,
    load_encoder,
    merged,
)
from sonorant.train import checkpoint, distributed
from sonorant.types import Kind


def finetune(config: FinetuneConfig, *, quiet: bool = False) -> Path:
    """Trains a recogniser, or continues, and gives its best checkpoint.

    ConfigError: settings, transcripts or pretrained run do not go together.
    """
    with distributed.session(config.train.processes, partial(finetune, config, quiet=True)):
        return fit(job(config, quiet=quiet), quiet=quiet)


def job(config: FinetuneConfig, *, quiet: bool) -> Job:
    """What a fine-tuning run trains, on what. ConfigError: as `finetune` has it."""
    manifest = Path(config.data.manifest)
    clips = transcribed(manifest)
    vocabulary = learned(manifest, clips, config)
    if "labels" in config.objective:
        raise ConfigError("objective.labels: follows from the transcripts (leave it out)")
    if config.train.shard:
        raise ConfigError("train.shard: is for pretraining (leave it out)")
    settings = builtins(config)
    pretrained = best_checkpoint(Path(config.pretrained))
    settings["encoder"] = merged(encoder_settings(pretrained), config.encoder)
    settings["objective"] = {"layer": usual_layer(pretrained, settings["encoder"])} | config.objective
    method = recogniser_config(settings["objective"], len(vocabulary))
    torch.manual_seed(config.seed)  # with or without pretraining, so that the head starts alike
    encoder = load_encoder(pretrained, untrained=config.from_scratch, changes=config.encoder)
    objective = build_objective(method, encoder, config.data)
    dataset = labelled_dataset(clips, config.data, vocabulary)
    minutes = dataset.seconds.sum() / 60
    start = "new weights" if config.from_scratch else f"weights of {pretrained}"
    if not config.from_scratch and go_on(objective, pretrained, vocabulary):
        start += ", its head's too"
    say(f"{len(dataset.clips)} utterances, {minutes:.1f} min, {len(vocabulary)} labels; {start}", quiet=quiet)
    validation = None
    if config.data.validation is not None:
        held_out = Path(config.data.validation)
        validation = labelled_dataset(transcribed(held_out), config.data, vocabulary)
        if skipped := list(unspelled(held_out, vocabulary)):
            say(f"{len(skipped)} texts lose characters that training never saw: {skipped[0]}", quiet=quiet)
    distributed.first(partial(_keep, vocabulary, Path(config.out)))
    return Job(
        run=Path(config.out),
        objective=objective,
        dataset=_mixed(dataset, config, vocabulary, quiet),
        config=config.train,
        seed=config.seed,
        settings=settings,
        validation=validation,
    )


def learned(manifest: Path, clips: Sequence[Clip], config: FinetuneConfig) -> Spelling:
    """The vocabulary of a manifest's transcripts. ConfigError names the line of one that it cannot spell."""
    kind = config.vocabulary or VocabularyConfig()
    try:
        vocabulary = learn((clip.text or "" for clip in clips), kind, normalisation=config.normalisation)
    except VocabularyError as error:
        raise ConfigError(f"{manifest}: {error}" if kind.size else str(error)) from error
    for told in unspelled(manifest, vocabulary):
        raise ConfigError(told)
    return vocabulary


def unspelled(manifest: Path, vocabulary: Spelling) -> Iterator[str]:
    """Where a manifest has a text that does not come back from its labels, and why."""
    with manifest.open("rb") as file:
        lines = [number for number, line in enumerate(file, start=1) if line.strip()]
    for number, clip in zip(lines, read(manifest), strict=True):
        if clip.text is None:
            continue
        try:
            written = vocabulary.decode(vocabulary.labels(clip))
        except VocabularyError as error:
            yield f"{manifest}:{number}: {error}"
            continue
        if written != vocabulary.normalise(clip.text):
            yield (
                f"{manifest}:{number}: {clip.id}: {clip.text!r} would be written {written!r} "
                "(change the text, or leave the clip out)"
            )


def _mixed(
    paired: Dataset, config: FinetuneConfig, vocabulary: Spelling, quiet: bool
) -> Dataset | Mixture | Alternation:
    """What is trained on. ConfigError: `pseudo` and `joint` are given, or a manifest does not fit."""
    if config.pseudo is not None and config.joint is not None:
        raise ConfigError("pseudo and joint: give one of them (each says alone what is trained on)")
    if config.joint is not None:
        return _in_turn(paired, config.joint, vocabulary, quiet)
    return paired if config.pseudo is None else _beside(paired, config.pseudo, vocabulary, quiet)


def _in_turn(paired: Dataset, config: JointConfig, vocabulary: Spelling, quiet: bool) -> Alternation:
    """The kinds of data that there are."""
    mask, found = config.mask, []
    if config.paired:
        paired.kind = "paired"
        found.append(paired)
    if config.speech is not None:
        speech = labelled_dataset(transcribed(Path(config.speech)), paired.config, vocabulary, kind="speech")
        if mask.kind in ("conf", "thres"):
            for clip in speech.clips:
                label_confidences(clip, vocabulary)  # tells here what is missing
        if mask.kind != "none":
            speech.weigh = partial(_weights, mask=mask, vocabulary=vocabulary)
        found.append(speech)
    if config.text is not None:
        found.append(labelled_dataset(transcribed(Path(config.text)), paired.config, vocabulary, kind="text"))
    told = (f"{each.kind} {each.seconds.sum() / 60:.1f} min" for each in found)
    say(f"batches in turn of {', '.join(told)}; label mask: {mask.kind}", quiet=quiet)
    return Alternation(found)


def _weights(clip: Clip, seed: int, *, mask: LabelMaskConfig, vocabulary: Spelling) -> list[float]:
    if mask.kind == "rand":  # which asks for no confidences
        return label_weights([1.0] * len(vocabulary.labels(clip, skip_unknown=True)), mask, seed)
    return label_weights(label_confidences(clip, vocabulary), mask, seed)


def _beside(paired: Dataset, config: PseudoConfig, vocabulary: Spelling, quiet: bool) -> Mixture:
    """The transcribed clips and those with pseudo-labels. ConfigError: these have none."""
    pseudo = labelled_dataset(transcribed(Path(config.manifest)), paired.config, vocabulary)
    minutes = pseudo.seconds.sum() / 60
    count = len(pseudo.clips)
    say(f"{count} pseudo-labelled, {minutes:.1f} min, in {config.share:.0%} of the batches", quiet=quiet)
    return Mixture(paired, pseudo, config.share)


def _keep(vocabulary: Spelling, run: Path) -> None:
    """Writes a run's vocabulary. ConfigError: training has begun with another one, which it needs."""
    file = run / VOCABULARY
    if file.exists() and checkpoint.latest(run) is not None:
        if load_vocabulary(file) != vocabulary:
            raise ConfigError(
                f"{run}: was begun with transcripts of other characters or subwords "
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


def labelled_dataset(
    clips: Sequence[Clip], config: DataConfig, vocabulary: Spelling, kind: Kind | None = None
) -> Dataset:
    """Clips with the labels of their texts; characters that training never saw are skipped."""
    return Dataset(clips, config, lambda clip: vocabulary.labels(clip, skip_unknown=True), kind=kind)
