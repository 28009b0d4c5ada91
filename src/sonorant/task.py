"""The contract between a downstream task and what benchmarks upstreams on it.

A task asks one question of frozen features: which word, which speaker, which phones. Adding one adds a file
to `tasks/`: it defines a subclass of `Task` named `Task`, and is found by its file name. What is measured
with it is always measured alike: the same parts of the data, the same sweep, the same seeds
(`recipes/benching/`).
"""

import hashlib
import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from sonorant.config import ConfigError
from sonorant.data.manifest import Clip
from sonorant.evaluate.ratios import Measured
from sonorant.evaluate.sampling import Parts, SamplingError, split

SPLIT, FOLD = "split", "fold"  # labels of a clip that say which part it belongs to
NAMES = {
    "train": 0,
    **dict.fromkeys(("validation", "valid", "val", "dev"), 1),
    "test": 2,
}


@dataclass(frozen=True)
class Times:
    """When an upstream's frames are: the middle of frame j lies at `first_centre + j * frame_seconds`."""

    frame_seconds: float
    first_centre: float


class Task(ABC):
    """A question about clips that is answered from their frames.

    `metric` names the figure that chooses learning rates and ranks upstreams, `higher` tells whether more of
    it is better, `data` what a clip has to have, as a sentence's end.
    """

    title: ClassVar[str]
    metric: ClassVar[str]
    higher: ClassVar[bool]
    data: ClassVar[str]

    @classmethod
    @abstractmethod
    def takes(cls, clip: Clip) -> bool:
        """Whether the clip has what the task needs."""

    @classmethod
    def made(cls, clips: Sequence[Clip], folder: Path) -> Sequence[Clip]:
        """The clips that are encoded: these, unless the task makes audio of its own, in this folder."""
        return clips

    @classmethod
    def parts(cls, clips: Sequence[Clip]) -> list[Parts]:
        """What is fitted, chosen and measured on; several where clips belong to folds.

        ConfigError: labels leave out clips or name no part. SamplingError: there are too few clips.
        """
        return parts(clips)


class HeadTask(Task):
    """A task with a small network on the weighted sum of an upstream's layers. It is made of the clips of the
    training part, which is all that it knows of labels."""

    heads: ClassVar[tuple[str, ...]]  # the published one first

    @abstractmethod
    def __init__(self, train: Sequence[Clip], times: Times) -> None:
        """ConfigError: the clips do not allow it."""

    @abstractmethod
    def head(self, name: str, dim: int, width: float) -> nn.Module:
        """A new head for frames of `dim`, called with `Padded`; `width` scales the published hidden sizes."""

    @abstractmethod
    def loss(self, output: Any, clips: Sequence[Clip]) -> tuple[Tensor, int]:
        """The sum over the targets of a batch, given the head's output, and their number."""

    @abstractmethod
    def predictions(self, output: Any) -> list[Any]:
        """One prediction a clip, on the CPU."""

    @abstractmethod
    def score(self, clips: Sequence[Clip], predictions: Sequence[Any]) -> list[Measured]:
        """What the predictions are worth, `metric` first."""


class LayerTask(Task):
    """A task without training, in which each layer answers by itself and the validation part chooses one.
    What is searched through or compared with is the training part."""

    @classmethod
    @abstractmethod
    def score(
        cls,
        clips: Sequence[Clip],
        others: Sequence[Clip],
        frames: Sequence[Tensor],
        other_frames: Sequence[Tensor],
    ) -> list[Measured]:
        """What a layer's frames (`time dim`) of the clips are worth beside those of others, `metric`
        first."""


def names() -> tuple[str, ...]:
    """The tasks that there are: the files of `tasks/`; those with `_` are what several tasks share."""
    folder = Path(__file__).parent / "tasks"
    found = (module.name for module in pkgutil.iter_modules([str(folder)]))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def find(name: str) -> type[Task]:
    """The task of that name. ConfigError: there is none."""
    if name not in names():
        raise ConfigError(f"tasks: {name!r} is not one of {', '.join(names())}")
    task: type[Task] = importlib.import_module(f"sonorant.tasks.{name}").Task
    return task


def label(clip: Clip, name: str) -> str | None:
    """One of a clip's labels."""
    return (clip.labels or {}).get(name)


def parts(clips: Sequence[Clip]) -> list[Parts]:
    """Folds by the label `fold`, else the parts that the label `split` names, else parts by a hash.

    A fold is measured with what was learned from the others. Hashed parts share no speaker, where speakers
    are known. Where no clip is for validation, an eighth of the training clips is.
    """
    for name in (FOLD, SPLIT):
        known = [clip for clip in clips if label(clip, name)]
        if known and len(known) < len(clips):
            without = next(clip.id for clip in clips if not label(clip, name))
            raise ConfigError(
                f"{without}: has no label {name!r}, others have (give all of them one, or none)"
            )
        if known:
            return folds(clips) if name == FOLD else [given(clips)]
    ids = [clip.id for clip in clips]
    return [split(ids, groups={clip.id: clip.speaker or clip.id for clip in clips})]


def folds(clips: Sequence[Clip]) -> list[Parts]:
    """Each fold as the test part once."""
    of = {clip.id: label(clip, FOLD) for clip in clips}
    if len(set(of.values())) < 2:
        raise SamplingError(f"fold: all clips are in fold {clips[0].labels} (two folds or more are needed)")
    return [
        _with_validation([name for name in of if of[name] != fold], [name for name in of if of[name] == fold])
        for fold in sorted({each or "" for each in of.values()})
    ]


def given(clips: Sequence[Clip]) -> Parts:
    """The parts that the clips' labels name."""
    sides: list[list[str]] = [[], [], []]
    for clip in clips:
        name = label(clip, SPLIT) or ""
        if name not in NAMES:
            raise ConfigError(f"{clip.id}: label {SPLIT!r} is {name!r}, expected one of {', '.join(NAMES)}")
        sides[NAMES[name]].append(clip.id)
    train, validation, test = sides
    if not train or not test:
        raise SamplingError(f"split: no clip that the task can use is for {'test' if train else 'train'}")
    return (
        Parts(tuple(train), tuple(validation), tuple(test)) if validation else _with_validation(train, test)
    )


def of_speakers(clips: Sequence[Clip]) -> Parts:
    """A fifth of the speakers for the test, an eighth for validation, two at least in each part, by a hash.

    SamplingError: there are too few.
    """
    members: dict[str, list[str]] = {}
    for clip in clips:
        members.setdefault(clip.speaker or "", []).append(clip.id)
    ordered = sorted(members, key=lambda name: hashlib.blake2b(name.encode()).digest())
    test, validation = max(2, len(ordered) // 5), max(2, len(ordered) // 8)
    if len(ordered) < test + validation + 2:
        raise SamplingError(f"{len(ordered)} speakers: at least six are needed, two for each part")
    sides = ordered[test + validation :], ordered[test : test + validation], ordered[:test]
    return Parts(*(tuple(name for voice in side for name in members[voice]) for side in sides))


def _with_validation(train: Sequence[str], test: Sequence[str]) -> Parts:
    ordered = sorted(train, key=lambda name: hashlib.blake2b(name.encode()).digest())
    count = len(ordered) // 8 or 1
    if len(ordered) < 2:
        raise SamplingError("one clip to train on: at least two are needed, one of them for validation")
    chosen = set(ordered[:count])
    fitted = tuple(name for name in train if name not in chosen)
    return Parts(fitted, tuple(name for name in train if name in chosen), tuple(test))
