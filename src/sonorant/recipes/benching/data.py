"""From manifests to the clips and parts that each task is measured on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sonorant.config import ConfigError
from sonorant.data.manifest import Clip, read
from sonorant.evaluate.sampling import Parts, SamplingError
from sonorant.recipes.benching.learning import Sides
from sonorant.task import SPLIT, Task, find, names

SHORTEST = 0.1  # seconds; what is shorter may have no frame
ROLES = ("train", "validation", "test")


@dataclass(frozen=True)
class Problem:
    """A task on one's own data: the clips that it can use, and which of them are for what."""

    name: str
    task: type[Task]
    clips: Sequence[Clip]
    parts: Sequence[Parts]

    def sides(self) -> list[Sides]:
        """The clips of each split."""
        clips = {clip.id: clip for clip in self.clips}
        return [
            Sides(*([clips[name] for name in side] for side in (each.train, each.validation, each.test)))
            for each in self.parts
        ]


def problems(
    wanted: Sequence[str] | None, words: Sequence[str], folder: Path, *, say: Callable[[str], None]
) -> list[Problem]:
    """The problems of these tasks, or of all that the data allow; `say` is told which ones they do not.

    A word is `MANIFEST` for all tasks or `TASK=MANIFEST` for one, or three manifests with commas between, for
    training, validation and test. Audio that tasks make goes to `folder`. ConfigError: a task that was asked
    for cannot be measured, or none can.
    """
    data = _data(words)
    found = []
    for name in wanted or names():
        clips = data.get(name, data.get(""))
        try:
            if clips is None:
                raise ConfigError(f"data: none for {name} (give a manifest)")  # noqa: TRY301
            found.append(_problem(name, clips, folder))
        except (ConfigError, SamplingError) as error:
            if wanted is not None:
                raise ConfigError(f"{name}: {error}") from error
            say(f"{name} is left out: {error}")
    if not found:
        raise ConfigError("tasks: the data allow none (docs/bench.md tells what each needs)")
    return found


def _problem(name: str, clips: Sequence[Clip], folder: Path) -> Problem:
    task = find(name)
    usable = [clip for clip in clips if task.takes(clip) and clip.seconds >= SHORTEST]
    if not usable:
        raise ConfigError(f"no clip has {task.data}")
    usable = list(task.made(usable, folder / name))
    parts = task.parts(usable)
    kept = {each for part in parts for each in (*part.train, *part.validation, *part.test)}
    return Problem(name, task, [clip for clip in usable if clip.id in kept], parts)


def _data(words: Sequence[str]) -> Mapping[str, list[Clip]]:
    """The clips for each task that has manifests of its own, and for all others under the name ``."""
    data: dict[str, list[Clip]] = {}
    for word in words:
        name, equals, rest = word.partition("=")
        if not equals or Path(word).exists():
            name, rest = "", word
        elif name not in names():
            raise ConfigError(f"data: {name!r} in {word!r} is not one of {', '.join(names())}")
        if name in data:
            raise ConfigError(f"data: two words for {name or 'all tasks'} (put manifests into one)")
        files = rest.split(",")
        if len(files) not in (1, len(ROLES)):
            raise ConfigError(f"data: {word!r}: expected one manifest, or three for {', '.join(ROLES)}")
        data[name] = list(read(Path(rest))) if len(files) == 1 else _roles(files)
    return data


def _roles(files: Sequence[str]) -> list[Clip]:
    return [
        msgspec.structs.replace(clip, labels={**(clip.labels or {}), SPLIT: role})
        for role, file in zip(ROLES, files, strict=True)
        for clip in read(Path(file))
    ]
