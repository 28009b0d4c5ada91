"""Recipes of several stages: what there is to do, how long it takes, and with which settings it was begun."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import torch

from sonorant.asr.transcribe import Recogniser
from sonorant.asr.vocabulary import Vocabulary
from sonorant.config import Config, ConfigError, builtins
from sonorant.data.manifest import Clip, seconds
from sonorant.objectives.ctc import CTC
from sonorant.objectives.seq2seq import Seq2Seq
from sonorant.recipes.fit import Job, step_seconds
from sonorant.recipes.recognise import posteriors
from sonorant.recipes.settings import differences
from sonorant.recipes.whole import write_whole
from sonorant.train import checkpoint

PLAN = "plan.json"
TIMED = 60.0  # seconds of speech that tell how long labelling takes


@dataclass(frozen=True)
class Stage:
    """One thing to do, where its result lies, and how long it takes, about."""

    name: str
    path: Path
    minutes: float


def told(plan: Sequence[Stage]) -> list[str]:
    """The plan for people: each stage with its end, counted from now, and its folder."""
    left = [0.0 if done(stage.path) else stage.minutes for stage in plan]
    return [
        f"{number}. {stage.name}: "
        + ("done" if done(stage.path) else f"about {minutes:.3g} min, until {end:.3g} min")
        + f" ({stage.path})"
        for number, (stage, minutes, end) in enumerate(zip(plan, left, accumulate(left), strict=True), 1)
    ]


def done(path: Path) -> bool:
    """Whether a stage's file is there, or its run was trained to the end."""
    if not path.is_dir():
        return path.exists()
    folder = checkpoint.latest(path)
    if folder is None:
        return False
    state = checkpoint.read_state(folder)
    return state.step >= state.total


def check_plan(out: Path, config: Config) -> None:
    """ConfigError: the folder was begun with other settings."""
    file = out / PLAN
    if file.exists():
        before: Mapping[str, Any] = msgspec.json.decode(file.read_bytes())
        if changed := differences({**before, "out": None}, {**builtins(config), "out": None}):
            raise ConfigError(
                f"{out}: was begun with other settings: {'; '.join(changed)} "
                "(continue with the same ones, or choose another --out)"
            )


def keep_plan(out: Path, config: Config) -> None:
    write_whole(out / PLAN, msgspec.json.format(msgspec.json.encode(config)) + b"\n")


def training_minutes(job: Job) -> float:
    if job.config.minutes is not None:
        return job.config.minutes
    assert job.config.steps is not None
    return job.config.steps * step_seconds(job) / 60


def labelling_minutes(job: Job, clips: Sequence[Clip]) -> float:
    """By what a recogniser that has not learned yet needs for some of the speech, greedily."""
    lengths = seconds(clips)
    some = clips[: int((lengths.cumsum() < TIMED).sum()) + 1]
    objective = job.objective.eval()
    assert isinstance(objective, CTC | Seq2Seq)
    network = objective.frames if isinstance(objective, Seq2Seq) else objective.log_probabilities
    recogniser = Recogniser(network, objective.encoder.frontend, Vocabulary(()))
    began = time.perf_counter()
    with torch.inference_mode():
        for _ in posteriors(some, recogniser):
            pass
    spent = time.perf_counter() - began
    return spent / float(lengths[: len(some)].sum()) * float(lengths.sum()) / 60
