"""Iterative pseudo-labelling: a recogniser labels speech, the next one learns from that too, and so on.

Xu, Likhomanenko, Kahn, Hannun, Synnaeve and Collobert, "Iterative Pseudo-Labeling for Speech Recognition",
Interspeech 2020, https://arxiv.org/abs/2005.09267; Park, Zhang, Jia, Han, Chiu, Li, Wu and Le, "Improved
Noisy Student Training for Automatic Speech Recognition", Interspeech 2020, https://arxiv.org/abs/2005.09629.
The teacher labels clean speech; a student learns from masked speech, as the settings of `ctc` and `data` say.
Every student starts from the pretrained encoder, not from its teacher.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import torch

from sonorant.asr.transcribe import Recogniser
from sonorant.asr.vocabulary import Vocabulary
from sonorant.config import Config, ConfigError, builtins
from sonorant.data.manifest import Clip, read, seconds, write
from sonorant.objectives.ctc import CTC
from sonorant.objectives.seq2seq import Seq2Seq
from sonorant.recipes import finetune
from sonorant.recipes.fit import Job, say, step_seconds
from sonorant.recipes.labelling import label, summary
from sonorant.recipes.language import BEAM, Language
from sonorant.recipes.recognise import load_recogniser, posteriors
from sonorant.recipes.settings import FinetuneConfig, PseudoConfig, differences

LABELS, PLAN = "pseudo.jsonl", "plan.json"
TIMED = 60.0  # seconds of speech that tell how long labelling takes

Progress = Callable[[int, int], None]


class SelfTrainConfig(Config, frozen=True, kw_only=True):
    """Rounds of labelling and training in `out`: `round_0` is the first teacher, on transcripts alone."""

    out: str
    speech: str  # the manifest of clips that are labelled
    finetune: FinetuneConfig  # of every recogniser; its `out` and `pseudo` are each round's own
    rounds: int = 2
    keep: float = 0.8  # of the clips, the surest
    share: float = 0.5  # of a student's batches that have pseudo-labels
    language: str | None = None  # what the labelling was told of the language


@dataclass(frozen=True)
class Stage:
    """One thing to do, where its result lies, and how long it takes, about."""

    name: str
    path: Path
    minutes: float


def self_train(
    config: SelfTrainConfig,
    *,
    language: Language | None = None,
    quiet: bool = False,
    progress: Progress | None = None,
) -> Path:
    """All rounds, or those that are left; gives the last student's best checkpoint.

    ConfigError: settings do not go together, or the folder was begun with others.
    """
    out = Path(config.out)
    _check(out, config)
    plan = stages(config, quiet=quiet)
    _keep(out, config)
    for line in told(plan):
        say(line, quiet=quiet)
    best = finetune.finetune(recogniser_of(config, 0), quiet=quiet)
    for number in range(1, config.rounds + 1):
        labels = out / f"round_{number}" / LABELS
        if not labels.exists():
            _label(config, best, labels, language, quiet=quiet, progress=progress)
        best = finetune.finetune(recogniser_of(config, number), quiet=quiet)
    return best


def recogniser_of(config: SelfTrainConfig, number: int) -> FinetuneConfig:
    """The training of a round."""
    folder = Path(config.out) / f"round_{number}"
    pseudo = PseudoConfig(manifest=str(folder / LABELS), share=config.share) if number else None
    return msgspec.structs.replace(config.finetune, out=str(folder), pseudo=pseudo)


def stages(config: SelfTrainConfig, *, quiet: bool = False) -> list[Stage]:
    """What there is to do, and about how long it takes on this machine."""
    clips = read(Path(config.speech))
    job = finetune.job(recogniser_of(config, 0), quiet=quiet)
    training, labelling = _training_minutes(job), _labelling_minutes(job, clips)
    out = Path(config.out)
    found = [Stage("train on transcripts", out / "round_0", training)]
    for number in range(1, config.rounds + 1):
        folder = out / f"round_{number}"
        found.append(Stage("label speech", folder / LABELS, labelling))
        found.append(Stage("train on transcripts and labels", folder, training))
    return found


def told(plan: list[Stage]) -> list[str]:
    """The plan for people: each stage with its end, counted from now, and its folder."""
    ends = accumulate(stage.minutes for stage in plan)
    return [
        f"{number}. {stage.name}: about {stage.minutes:.3g} min, until {end:.3g} min ({stage.path})"
        for number, (stage, end) in enumerate(zip(plan, ends, strict=True), start=1)
    ]


def _check(out: Path, config: SelfTrainConfig) -> None:
    """ConfigError: the folder was begun with other settings."""
    file = out / PLAN
    if file.exists():
        before: Mapping[str, Any] = msgspec.json.decode(file.read_bytes())
        if changed := differences({**before, "out": None}, {**builtins(config), "out": None}):
            raise ConfigError(
                f"{out}: was begun with other settings: {'; '.join(changed)} "
                "(continue with the same ones, or choose another --out)"
            )


def _keep(out: Path, config: SelfTrainConfig) -> None:
    partial = out / f"{PLAN}.partial"
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(config), indent=1) + b"\n")
    partial.replace(out / PLAN)


def _label(
    config: SelfTrainConfig,
    teacher: Path,
    labels: Path,
    language: Language | None,
    *,
    quiet: bool,
    progress: Progress | None,
) -> None:
    recogniser = load_recogniser(teacher)
    found = label(
        read(Path(config.speech)),
        recogniser,
        keep=config.keep,
        width=None if language is None else BEAM,
        scorer=None if language is None else language.scorer(recogniser.vocabulary),
        progress=progress,
    )
    labels.parent.mkdir(parents=True, exist_ok=True)
    write(labels, found.kept)
    say(f"{labels}: " + ", ".join(f"{key} {value}" for key, value in summary(found).items()), quiet=quiet)


def _training_minutes(job: Job) -> float:
    if job.config.minutes is not None:
        return job.config.minutes
    assert job.config.steps is not None
    return job.config.steps * step_seconds(job) / 60


def _labelling_minutes(job: Job, clips: Sequence[Clip]) -> float:
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
