"""Iterative pseudo-labelling: a recogniser labels speech, the next one learns from that too, and so on.

Xu, Likhomanenko, Kahn, Hannun, Synnaeve and Collobert, "Iterative Pseudo-Labeling for Speech Recognition",
Interspeech 2020, https://arxiv.org/abs/2005.09267; Park, Zhang, Jia, Han, Chiu, Li, Wu and Le, "Improved
Noisy Student Training for Automatic Speech Recognition", Interspeech 2020, https://arxiv.org/abs/2005.09629.
The teacher labels clean speech; a student learns from masked speech, as the settings of `ctc` and `data` say.
Every student starts from the pretrained encoder, not from its teacher.

With `teacher: ema` there is one student instead of rounds, which starts as the first recogniser: see
`following.py`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from sonorant.config import Config, ConfigError
from sonorant.data.manifest import read, write
from sonorant.recipes import finetune, following
from sonorant.recipes.fit import say
from sonorant.recipes.labelling import label, summary, worth
from sonorant.recipes.language import BEAM, Language
from sonorant.recipes.recognise import load_recogniser
from sonorant.recipes.settings import FinetuneConfig, PseudoConfig
from sonorant.recipes.stages import Stage, check_plan, keep_plan, labelling_minutes, told, training_minutes

LABELS, STUDENT = "pseudo.jsonl", "student"

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
    teacher: Literal["ema"] | None = None  # the student's moving average, instead of rounds


def self_train(
    config: SelfTrainConfig,
    *,
    language: Language | None = None,
    quiet: bool = False,
    progress: Progress | None = None,
) -> Path:
    """All rounds, or those that are left, or the one student; gives the last student's best checkpoint.

    ConfigError: settings do not go together, or the folder was begun with others.
    """
    out = Path(config.out)
    if config.teacher is not None:
        _check_following(config)
    check_plan(out, config)
    plan = stages(config, quiet=quiet)
    keep_plan(out, config)
    for line in told(plan):
        say(line, quiet=quiet)
    best = finetune.finetune(recogniser_of(config, 0), quiet=quiet)
    if config.teacher is not None:
        return following.learn(_student(config), best, Path(config.speech), config.share, quiet=quiet)
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
    training, out = training_minutes(job), Path(config.out)
    found = [Stage("train on transcripts", out / "round_0", training)]
    if config.teacher is not None:
        student = following.job(_student(config), Path(config.speech), config.share, quiet=True)
        return [*found, Stage("train with a teacher", out / STUDENT, training_minutes(student))]
    labelling = labelling_minutes(job, clips)
    for number in range(1, config.rounds + 1):
        folder = out / f"round_{number}"
        found.append(Stage("label speech", folder / LABELS, labelling))
        found.append(Stage("train on transcripts and labels", folder, training))
    return found


def _student(config: SelfTrainConfig) -> FinetuneConfig:
    return msgspec.structs.replace(config.finetune, out=str(Path(config.out) / STUDENT))


def _check_following(config: SelfTrainConfig) -> None:
    """ConfigError: something is given that only rounds of files have a place for."""
    following.check_teachable(config.finetune)
    usual = {field.name: field.default for field in msgspec.structs.fields(config)}
    options = {"rounds": "--rounds", "keep": "--keep", "language": "--lm"}
    if given := [option for name, option in options.items() if getattr(config, name) != usual[name]]:
        raise ConfigError(f"teacher ema: has no rounds of files (leave out {', '.join(given)})")


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
    for line in worth(summary(found)):
        say(f"{labels}: {line}", quiet=quiet)
