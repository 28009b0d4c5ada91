"""What is done with a contestant: pretraining, measuring, fine-tuning, each kept in its folder.

A stage that has ended leaves its rows beside its folder and is not repeated; one that was interrupted goes on
from its last checkpoint.
"""

import hashlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from comparisons import rewrite
from contest.costs import timed, times, updates
from contest.entries import Entry
from contest.figures import HEALTH, KIND, LOSS
from contest.methods import Method
from contest.noise import measure_in_noise
from contest.recognising import decode, error_rows, train
from contest.scores import measure
from sonorant.config import ConfigError, convert, load
from sonorant.data.manifest import read
from sonorant.encoders.build import EncoderConfig, build
from sonorant.evaluate.rows import Row, read_rows
from sonorant.recipes import finetune as finetuning
from sonorant.recipes import pretrain as pretraining
from sonorant.recipes.fit import say
from sonorant.recipes.recognise import load_recogniser, recognise
from sonorant.recipes.settings import FinetuneConfig, encoder_settings
from sonorant.recipes.shipped import shipped
from sonorant.train import checkpoint
from sonorant.train.log import read_metrics
from sonorant.train.optim import adamw


def stage_rows(entry: Entry, stage: str) -> list[Row]:
    """A stage's rows, after it if it had not ended yet."""
    file = entry.file(stage)
    if not file.exists():
        say(f"== {entry.contestant.name}, seed {entry.seed}: {stage}")
        rewrite(file, STAGES[stage](entry))
    return read_rows(file)


def pretrain(entry: Entry) -> list[Row]:
    """Trains for the minutes, `prepare` among them; half of them for each of two iterations."""
    method = entry.contestant
    assert isinstance(method, Method)
    if entry.pretrained is not None:
        return _taken(entry, entry.within(entry.pretrained))
    parameters = entry.row(KIND, _parameters(method), task=method.kind)
    if not method.trained:
        _draw(entry, method)
        return [parameters]
    minutes = entry.budget.pretraining / (2 if method.second else 1)
    changes: dict[str, Any] = {}
    if method.second:
        first = _trained(entry, method, "first", minutes, {})
        layer = method.encoder["context"]["layers"] // 2  # about the middle, as the paper has it
        changes = {**method.second, "teacher": str(first), "teacher_layer": layer}
    _trained(entry, method, "pretrain", minutes, changes)
    return [parameters, *_training_rows(entry, method)]


def _taken(entry: Entry, source: Path) -> list[Row]:
    """A network and what its training told, from another corpus' folder. ConfigError: it is not there."""
    rows = source / "pretrain.jsonl"
    if not rows.exists():
        raise ConfigError(f"{source}: nothing is pretrained there (run the table without --pretrained first)")
    entry.folder.mkdir(parents=True, exist_ok=True)
    link = entry.folder / "pretrain"
    link.unlink(missing_ok=True)
    link.symlink_to(source / "pretrain", target_is_directory=True)
    return read_rows(rows)


def _training_rows(entry: Entry, method: Method) -> list[Row]:
    """What the training took, and what its log tells."""
    watched = {figure: figure for figure in method.watched}
    runs = [run for run in (entry.folder / "first", entry.folder / "pretrain") if run.exists()]
    logged = [row for run in runs for row in read_metrics(run / "metrics.jsonl")]
    steps = [row for row in logged if "loss" in row]
    audio, seconds = (sum(row[key] for row in steps) for key in ("audio_seconds", "seconds"))
    told = [row["diagnosis"] for row in logged if "diagnosis" in row]
    taken = sum(checkpoint.read_state(checkpoint.step_folder(run)).total for run in runs)
    return [
        *times(entry, "pretrain"),
        entry.row("updates", taken),
        entry.row("batch seconds", method.batch_seconds(entry.budget.processes) * entry.budget.processes),
        entry.row("seconds of audio a second", audio / seconds),
        entry.row(HEALTH, len(told), task="; ".join(told)),
        *(_last(entry, runs[-1], figure, row) for figure, row in {"loss": LOSS, **watched}.items()),
    ]


def _last(entry: Entry, run: Path, figure: str, metric: str) -> Row:
    values = last(read_metrics(run / "metrics.jsonl"), figure)
    return entry.row(metric, statistics.mean(values), low=min(values), high=max(values), n=len(values))


def last(logged: Sequence[Mapping[str, Any]], figure: str) -> list[float]:
    """A figure in the last tenth of the steps that were logged with it."""
    values = [row[figure] for row in logged if row.get(figure) is not None]
    return values[-max(1, len(values) // 10) :]


def _trained(entry: Entry, method: Method, name: str, minutes: float, changes: Mapping[str, Any]) -> Path:
    """A run of as many updates as fit into the minutes, to its end."""
    config = partial(
        method.config,
        out=str(entry.folder / name),
        manifest=str(entry.corpus / "untranscribed.jsonl"),
        processes=entry.budget.processes,
        seed=entry.seed,
        changes=changes,
    )
    file = entry.folder / f"{name}-updates.json"
    if method.pool is not None:
        file = entry.root / f"{method.pool}-updates.json"  # measured with the first of them
    steps = updates(file, config(steps=1), minutes)
    with timed(entry.folder / "pretrain-seconds.json"):
        return pretraining.pretrain(config(steps=steps))


def _draw(entry: Entry, method: Method) -> None:
    """A checkpoint before the first update: what is fine-tuned from it is trained from scratch."""
    config = method.config(
        out=str(entry.folder / "pretrain"), manifest=str(entry.corpus / "untranscribed.jsonl"),
        processes=1, seed=entry.seed, steps=1, changes={},
    )  # fmt: skip
    job = pretraining.job(config, quiet=True)
    state = checkpoint.State(step=0, total=1)
    optimizer = adamw(job.objective, job.config.optimizer)
    checkpoint.save(job.run, state, objective=job.objective, optimizer=optimizer, config=job.settings)


def _parameters(method: Method) -> int:
    encoder = build(convert(method.encoder, EncoderConfig))
    return sum(each.numel() for each in encoder.parameters())


def finetune(entry: Entry) -> list[Row]:
    """Error rates on the dev and test parts after ten minutes of labels."""
    pretrained = entry.folder / "pretrain"
    config = partial(_finetuning, entry, pretrained)
    settings = json.dumps([encoder_settings(pretrained), entry.budget.finetuning, entry.budget.processes])
    key = hashlib.blake2b(settings.encode(), digest_size=4).hexdigest()
    # encoders of one shape are given the same updates
    steps = updates(entry.root / f"finetune-{key}-updates.json", config(1), entry.budget.finetuning)
    with timed(entry.folder / "finetune-seconds.json"):
        finetuning.finetune(config(steps))
    recogniser = load_recogniser(entry.folder / "finetune")
    rows = [*times(entry, "finetune", "fine-tuning "), entry.row("fine-tuning updates", steps)]
    for part in ("dev", "test"):
        clips = [clip for clip in read(entry.corpus / f"{part}.jsonl") if clip.text]
        hypotheses, _ = recognise(clips, recogniser)
        rows += error_rows(entry, part, hypotheses)
    return rows


def _finetuning(entry: Entry, pretrained: Path, steps: int) -> FinetuneConfig:
    settings = load(shipped("demo_finetune"))
    train = {key: value for key, value in settings["train"].items() if key != "minutes"}
    has_dropout = "dropout" in encoder_settings(pretrained)["context"]
    settings |= {
        "seed": entry.seed,
        "out": str(entry.folder / "finetune"),
        "pretrained": str(pretrained),
        "data": {**settings["data"], "manifest": str(entry.corpus / "paired-10m.jsonl")},
        "encoder": settings.get("encoder", {}) if has_dropout else {},
        "objective": {**settings["objective"], "layer": "weighted"},  # of every encoder alike
        "train": {**train, "steps": steps, "processes": entry.budget.processes},
    }
    return convert(settings, FinetuneConfig)


STAGES: dict[str, Callable[[Entry], list[Row]]] = {
    "pretrain": pretrain,
    "measure": measure,
    "noise": measure_in_noise,
    "finetune": finetune,
    "train": train,
    "decode": decode,
}
