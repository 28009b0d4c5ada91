"""The low-resource split: a little transcribed speech, more speech alone and text alone, and no clip in two.

The name of a clip is its id without the source's prefix; it belongs to a group (a dialogue, a scene), so that
test and dev share none with train.

1. Groups stand in the order of their name's SHA-1. *test* takes groups until it has 20 minutes of
   transcribed audio, *dev* the next until it has 20, *train* has the rest.
2. test and dev lose every clip without a transcript and every clip whose normalised text also stands in
   train.
3. Transcribed train clips stand in the order of their name's SHA-1. Those up to 10 minutes are *paired-10m*,
   those up to 60 minutes *paired-1h*, which holds paired-10m.
4. The first half of the transcribed clips that remain, by their number, and all clips without a transcript
   are *unpaired speech*, whose text is hidden; the second half is *unpaired text*, whose audio is hidden.
5. *untranscribed* is what pretraining may hear: unpaired speech and the audio of paired-1h, without text.

"Until" includes the group or the clip that reaches the limit. Where transcripts run out, parts stay short. A
short corpus has other limits, and keeps the names of the parts.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from sonorant.data.manifest import Clip, write
from sonorant.data.text import normalize


class Limits(NamedTuple):
    """Transcribed minutes of the parts."""

    held_out: float = 20  # of *test*, and of *dev*
    small: float = 10
    large: float = 60


USUAL = Limits()


class Parts(NamedTuple):
    """The parts of the low-resource split; the module's docstring defines each."""

    test: list[Clip]
    dev: list[Clip]
    train: list[Clip]
    paired_10m: list[Clip]
    paired_1h: list[Clip]
    unpaired_speech: list[Clip]
    unpaired_text: list[str]
    untranscribed: list[Clip]


def low_resource(clips: Sequence[Clip], group: Callable[[str], str], limits: Limits = USUAL) -> Parts:
    """The split of the clips; `group` gives the group of a clip's name."""
    groups: dict[str, list[Clip]] = {}
    for clip in sorted(clips, key=lambda clip: clip.id):
        groups.setdefault(group(_name(clip)), []).append(clip)
    order = [groups[name] for name in sorted(groups, key=_sha1)]
    test, order = _until(limits.held_out, order)
    dev, order = _until(limits.held_out, order)
    train = [clip for members in order for clip in members]
    texts = {normalize(clip.text or "") for clip in train}

    shuffled = sorted((clip for clip in train if clip.text), key=lambda clip: _sha1(_name(clip)))
    large, rest = _until(limits.large, [[clip] for clip in shuffled])
    small, _ = _until(limits.small, large)
    half = (len(rest) + 1) // 2
    speech = [clip for members in rest[:half] for clip in members]
    speech = _without_text([*speech, *(clip for clip in train if not clip.text)])
    paired = [clip for members in large for clip in members]
    return Parts(
        test=_unheard(test, texts),
        dev=_unheard(dev, texts),
        train=train,
        paired_10m=[clip for members in small for clip in members],
        paired_1h=paired,
        unpaired_speech=speech,
        unpaired_text=[clip.text for members in rest[half:] for clip in members if clip.text],
        untranscribed=[*_without_text(paired), *speech],
    )


def write_parts(parts: Parts, out: Path) -> None:
    """A manifest for each part of the split that has a clip, and the unpaired sentences one a line."""
    for name, part in parts._asdict().items():
        path = out / name.replace("_", "-")
        if name == "unpaired_text":
            path.with_suffix(".txt").write_text("".join(f"{line}\n" for line in part), encoding="utf8")
        elif part:
            write(path.with_suffix(".jsonl"), part)


def minutes(clips: Iterable[Clip]) -> float:
    """The length of the clips together."""
    return sum(clip.seconds for clip in clips) / 60


def _name(clip: Clip) -> str:
    return clip.id.removeprefix(f"{clip.source}-")


def _sha1(name: str) -> str:
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()


def _until(limit: float, groups: Sequence[list[Clip]]) -> tuple[list[list[Clip]], list[list[Clip]]]:
    """The first groups that reach so many transcribed minutes, and the others."""
    heard = 0.0
    for number, members in enumerate(groups):
        if heard >= limit:
            return list(groups[:number]), list(groups[number:])
        heard += minutes(clip for clip in members if clip.text)
    return list(groups), []


def _unheard(groups: Iterable[list[Clip]], texts: set[str]) -> list[Clip]:
    return [clip for members in groups for clip in members if clip.text and normalize(clip.text) not in texts]


def _without_text(clips: Iterable[Clip]) -> list[Clip]:
    return [msgspec.structs.replace(clip, text=None) for clip in clips]
