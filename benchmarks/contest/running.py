"""Going through the stages of all contestants, and telling beforehand how long that will take."""

import sys
from collections.abc import Sequence
from pathlib import Path

from contest.entries import Budget, Entry
from contest.keeping import Show, keep
from contest.stages import stage_rows

OTHER = {"pretrain": 0.5, "measure": 2.0, "noise": 1.0, "finetune": 0.5, "train": 0.5, "decode": 3.0}
"""Minutes beside training, about, on two cores."""


def plan(chosen: Sequence[Entry]) -> str:
    """What is left to do and about how long it will take."""
    lines, total = [], 0.0
    for entry in chosen:
        minutes = {stage: _minutes(entry.budget, stage) for stage in entry.left}
        total += sum(minutes.values())
        told = ", ".join(f"{stage} {length:g} min" for stage, length in minutes.items()) or "done"
        lines.append(f"{entry.contestant.name}, seed {entry.seed}: {told}")
    return "\n".join([*lines, f"about {total / 60:.1f} hours in all"])


def _minutes(budget: Budget, stage: str) -> float:
    training = {"pretrain": budget.pretraining, "finetune": budget.finetuning, "train": budget.finetuning}
    return training.get(stage, 0.0) + OTHER[stage]


def run(chosen: Sequence[Entry], file: Path, show: Show) -> int:
    """Goes through all stages of all, and adds the rows of each to a file; one that fails is told, and the
    next goes on. Gives the exit code."""
    failed = 0
    for entry in chosen:
        try:
            for stage in entry.contestant.stages:
                keep(file, stage_rows(entry, stage), entry.budget, show)
        except ValueError as error:  # settings, training that came to nothing, a process that is gone
            failed = 1
            print(f"{entry.contestant.name}, seed {entry.seed}: {error}", file=sys.stderr, flush=True)
    return failed
