"""Fine-tuning from a pretrained run and transcribed speech alone: the schedule for so many hours of labels.

The schedules are those of wav2vec 2.0 BASE (Baevski et al. 2020, https://arxiv.org/abs/2006.11477) for ten
minutes, one, ten and a hundred hours, as its authors published them: `base_10m.yaml` to `base_100h.yaml` in
https://github.com/facebookresearch/fairseq/tree/main/examples/wav2vec/config/finetuning. Of these files are
the updates, the updates in which only the new head learns, the peak rates, the three stages (10 % up, 40 %
held, 50 % down to 5 %), the masks, the layers dropped and Adam's settings without a decay of weights.

They are made for 1600 s of audio an update on large GPUs. Here there are a tenth as many updates at ten times
the rates: Adam's steps are about as large as the rate, so that weights may move as far as theirs did. A batch
is 1/50 of theirs for ten minutes and 1/5 for a hundred hours, which goes through the transcripts 69,
23, 9 and 7 times. Masks keep their duration (0.2 s) and their share of the channels (64 of 768).

Encoders narrower than `NARROW` do not wait. They go through the transcripts as often, in batches of a quarter
(of 16 s at least) and so with up to four times the updates, at twice the rates, under fewer masks, and drop
no layers. All of these two paragraphs, the drawn speeds (Ko et al., "Audio Augmentation for Speech
Recognition", Interspeech 2015) and dropout within the context, in place of theirs between feed-forward
layers, are our own.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sonorant.config import ConfigError, convert, override
from sonorant.data.entries import Progress, Skipped
from sonorant.data.manifest import write
from sonorant.encoders.build import EncoderConfig, frontend
from sonorant.recipes.budget import processes
from sonorant.recipes.finetune import transcribed
from sonorant.recipes.recogniser import NARROW
from sonorant.recipes.settings import FinetuneConfig, best_checkpoint, encoder_settings
from sonorant.recipes.sources import gathered

SHORTER = 10  # updates, over theirs, and peak rates, under ours
MASK_SECONDS, MASK_CHANNELS = 0.2, 64 / 768
SPEEDS = (0.9, 1.0, 1.1)
SHORTEST = 16.0  # seconds of a batch


class Schedule(NamedTuple):
    """What was published for so many hours, and the seconds of our batches."""

    name: str
    hours: float
    updates: int
    waiting: int  # updates before the encoder learns, too
    peak: float
    channel_mask: float
    layerdrop: float
    batch_seconds: float  # ours


SCHEDULES = (
    Schedule("10 min", 1 / 6, 13_000, 10_000, 5e-5, 0.25, 0.1, 32),
    Schedule("1 h", 1, 13_000, 10_000, 5e-5, 0.25, 0.1, 64),
    Schedule("10 h", 10, 20_000, 10_000, 5e-5, 0.5, 0.05, 160),
    Schedule("100 h", 100, 80_000, 0, 3e-5, 0.5, 0.1, 320),
)


class Tuned(NamedTuple):
    """A run that is planned, the schedule it follows, and why."""

    config: FinetuneConfig
    schedule: Schedule
    hours: float  # of transcribed speech
    skipped: Sequence[Skipped]


def nearest(hours: float) -> Schedule:
    """The schedule made for about so many hours; twice as many are as near as half as many."""
    return min(SCHEDULES, key=lambda each: abs(math.log(hours / each.hours)))


def plan(
    source: Path,
    pretrained: Path,
    overrides: Sequence[str] = (),
    *,
    runs: Path = Path("runs"),
    progress: Progress | None = None,
) -> Tuned:
    """The fine-tuning of a run or checkpoint on the transcribed speech of a folder or manifest.

    A folder's manifest is written beside the run, once. ConfigError: there is no such source, or it has no
    transcripts, or settings do not go together. CheckpointError: there is no such run.
    """
    if not source.exists():
        raise ConfigError(f"{source}: no such folder or manifest")
    encoder = encoder_settings(best_checkpoint(pretrained))
    run = runs / f"{source.resolve().stem}-from-{pretrained.resolve().name}"
    manifest, skipped = _manifest(source, run.parent / f"{run.name}-speech", progress)
    hours = sum(clip.seconds for clip in transcribed(manifest)) / 3600
    schedule = nearest(hours)
    chosen = override(settings(schedule, encoder, processes()), overrides)
    if chosen.get("from_scratch") and not any(word.startswith("objective.freeze") for word in overrides):
        chosen["objective"]["freeze_context"] = 0  # new weights are nothing to be kept
    for key, value in (("out", run), ("pretrained", pretrained)):
        chosen.setdefault(key, str(value))
    chosen["data"].setdefault("manifest", str(manifest))
    return Tuned(convert(chosen, FinetuneConfig), schedule, hours, skipped)


def told(planned: Tuned) -> str:
    """The plan in a line."""
    config, schedule = planned.config, planned.schedule
    train, hours = config.train, planned.hours
    amount = f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"
    length = f"{train.steps} updates" if train.minutes is None else f"{train.minutes:g} min of training"
    waiting = config.objective.get("freeze_context", 0)
    waits = "the encoder learns from the start"
    if waiting:
        waits = "the encoder stays as it is" if waiting == "always" else f"the encoder from {waiting} on"
    return (
        f"{config.objective.get('name', 'ctc')}, {amount} of transcripts: the schedule for {schedule.name}, "
        f"after wav2vec 2.0's: {length} with {train.processes} x {config.data.batch_seconds:g} s, "
        f"rates up to {train.schedule.peak:g}, {waits}; run: {config.out}"
    )


def settings(schedule: Schedule, encoder: dict[str, Any], count: int) -> dict[str, Any]:
    """A fine-tuning run of this encoder in so many processes, but for what it is trained on."""
    front = frontend(convert(encoder, EncoderConfig, path="encoder").frontend)
    context = encoder["context"]
    narrow = context["dim"] < NARROW
    batch = max(SHORTEST, schedule.batch_seconds / 4) if narrow else schedule.batch_seconds
    changes = {"dropout": 0.1, "layerdrop": 0.0 if narrow else schedule.layerdrop}
    return {
        "data": {
            "rate": front.rate,
            "batch_seconds": batch / count,
            "crop_seconds": None,
            "speeds": list(SPEEDS),
        },
        "encoder": {"context": {key: value for key, value in changes.items() if key in context}},
        "objective": {
            "name": "ctc",
            "freeze_context": 0 if narrow else schedule.waiting // SHORTER,
            "time_mask_probability": 0.3 if narrow else 0.65,
            "time_mask_length": max(1, round(MASK_SECONDS * front.rate / front.stride)),
            "channel_mask_probability": 0.1 if narrow else schedule.channel_mask,
            "channel_mask_length": max(1, round(MASK_CHANNELS * context["dim"])),
        },
        "train": {
            "steps": round(schedule.updates / SHORTER * schedule.batch_seconds / batch),
            "processes": count,
            "schedule": {"peak": schedule.peak * SHORTER * (2 if narrow else 1), "decay": "tri_stage"},
            "optimizer": {"weight_decay": 0.0},
        },
    }


def _manifest(source: Path, speech: Path, progress: Progress | None) -> tuple[Path, Sequence[Skipped]]:
    """The manifest of a source, written if it is a folder that is new, and what was left out."""
    if not source.is_dir():
        return source, []
    file = speech / "transcribed.jsonl"
    if file.exists():
        return file, []
    clips, skipped = gathered(source, speech / "audio", progress)
    speech.mkdir(parents=True, exist_ok=True)
    write(file, clips)
    return file, skipped
