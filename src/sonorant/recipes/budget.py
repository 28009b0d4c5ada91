"""Pretraining from a folder and a time alone: which method, how long, what is held out to score it.

The methods are those that `benchmarks/objectives.py`, which trains all of them on the same speech at equal
cost, and `benchmarks/demo.py` speak for so far: CPC tells phones best after four processor minutes; of an
hour of work wav2vec 2.0 alone has been measured, which has gained 8 points over log-mel by then.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from sonorant.config import ConfigError, convert, load
from sonorant.data.entries import Progress, Skipped
from sonorant.data.manifest import Clip, write
from sonorant.evaluate.sampling import SamplingError, split
from sonorant.recipes.settings import PretrainConfig
from sonorant.recipes.shipped import shipped
from sonorant.recipes.sources import gathered

RECIPES = ((0.0, "demo_cpc"), (30.0, "demo_pretrain"))  # from so many minutes on, this configuration
TRAINING = 0.85  # of the budget; the rest goes into reading, timing and scoring
HELD_OUT_MINUTES, HELD_OUT_SHARE = 10.0, 0.1  # of the speech, at most, to score checkpoints on
PROCESSES = 4  # at most: each brings a batch of its own, and the schedules are made for few
UNITS = {"m": 1.0, "min": 1.0, "h": 60.0}


class Planned(NamedTuple):
    """A run that is planned, the name of its configuration, and the files that were left out of it."""

    config: PretrainConfig
    recipe: str
    skipped: Sequence[Skipped]


def minutes(budget: str) -> float:
    """Of "10m", "90min" or "1.5h". ConfigError: it is no such time."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(m|min|h)", budget.strip())
    if not found or float(found[1]) == 0:
        raise ConfigError(f"--budget: {budget!r} is no time: write 10m or 1.5h")
    return float(found[1]) * UNITS[found[2]]


def plan(
    source: Path,
    budget: str,
    overrides: Sequence[str] = (),
    *,
    runs: Path = Path("runs"),
    progress: Progress | None = None,
) -> Planned:
    """The run that makes the most of a time on the speech of a folder or manifest.

    What is trained on and what is held out are written beside the run, once: the same command continues it.
    ConfigError: the source or the budget is none. ManifestError: it has no speech.
    """
    length = minutes(budget)
    if not source.exists():
        raise ConfigError(f"{source}: no such folder or manifest")
    recipe = [name for least, name in RECIPES if length >= least][-1]
    run = runs / f"{source.resolve().stem}-{budget.replace(' ', '')}"
    speech = run.parent / f"{run.name}-speech"
    skipped = [] if (speech / "train.jsonl").exists() else _shared_out(source, speech, progress)
    words = [
        f"out={json.dumps(str(run))}",
        f"data.manifest={json.dumps(str(speech / 'train.jsonl'))}",
        f"train.minutes={TRAINING * length:g}",
        f"train.processes={processes()}",
        "encoder.frontend.high=null",  # the demo's recordings end at 5500 Hz, others do not
    ]
    if (speech / "held_out.jsonl").exists():
        words.append(f"score.manifest={json.dumps(str(speech / 'held_out.jsonl'))}")
    return Planned(convert(load(shipped(recipe), [*words, *overrides]), PretrainConfig), recipe, skipped)


def told(planned: Planned) -> str:
    """The plan in a line."""
    config = planned.config
    scored = (
        "each checkpoint is scored on speech held out" if config.score else "too little speech to score on"
    )
    train = config.train
    length = f"{train.steps} updates" if train.minutes is None else f"{train.minutes:g} min of training"
    return (
        f"{config.objective['name']} ({planned.recipe}), {length} in {train.processes} processes; {scored}; "
        f"run: {config.out}"
    )


def _shared_out(source: Path, speech: Path, progress: Progress | None) -> Sequence[Skipped]:
    """Writes the two manifests, and gives the files that were left out."""
    clips, skipped = gathered(source, speech / "audio", progress)
    held_out = _held_out(clips)
    speech.mkdir(parents=True, exist_ok=True)
    if held_out:
        write(speech / "held_out.jsonl", held_out)
    names = {clip.id for clip in held_out}
    write(speech / "train.jsonl", [clip for clip in clips if clip.id not in names])
    return skipped


def _held_out(clips: Sequence[Clip]) -> list[Clip]:
    """Some clips, the same for the same ids; none where they are too few to score on."""
    limit = min(HELD_OUT_MINUTES * 60, HELD_OUT_SHARE * sum(clip.seconds for clip in clips))
    chosen: list[Clip] = []
    for clip in sorted(clips, key=lambda clip: hashlib.blake2b(clip.id.encode()).digest()):
        if sum(each.seconds for each in chosen) + clip.seconds > limit:
            break
        chosen.append(clip)
    try:
        split([clip.id for clip in chosen])
    except SamplingError:
        return []
    return chosen


def processes() -> int:
    """One for each core; a GPU is one process's."""
    return 1 if torch.cuda.is_available() else min(len(os.sched_getaffinity(0)), PROCESSES)
