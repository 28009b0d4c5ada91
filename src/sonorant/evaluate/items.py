"""The items that ABX compares: phones with their neighbours, cut out of utterances' features.

    triphone  from the start of the phone before to the end of the phone behind, in the context of both
    phone     the phone's own frames, in the context of the phone before and the phone behind
    any       the phone's own frames, whatever its context

Where no phone adjoins, at a pause or at an end of the clip, a phone's context is `SIL`; triphones need both
neighbours. A frame belongs to what is spoken at its centre; a phone without a frame's centre has the frame
nearest to its middle, so that features of every frame rate are measured on the same items.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sonorant.data.manifest import Clip
from sonorant.evaluate.labels import SILENCE, LabelError
from sonorant.evaluate.store import FeatureStore

Kind = Literal["triphone", "phone", "any"]

# What aligners and phone sets call stretches without a phone.
PAUSES = frozenset({"SIL", "PAU", "SP", "SPN", "NSN", "H#", "EPI", "#", "<EPS>", "<SIL>", ""})
ADJOINING = 0.005  # seconds between two phones at most
MISSING = 0.1  # seconds that features may end before the units do


class Span(NamedTuple):
    """A labelled stretch of a clip, in seconds."""

    label: str
    context: tuple[str, str] | None
    start: float
    end: float


@dataclass(frozen=True)
class Items:
    """Items' frames, one item behind another, and what is known about each of them."""

    frames: Float[Tensor, "frames dim"]
    lengths: Int[Tensor, " items"]
    labels: Int[Tensor, " items"]  # numbers of `names`
    contexts: Int[Tensor, " items"]
    speakers: Int[Tensor, " items"]
    clips: Int[Tensor, " items"]
    names: tuple[str, ...]
    voices: tuple[str, ...]  # the speakers' names; one without a name if no clip has a speaker
    unknown: int  # clips that were left out because their speaker is not known, and others' are


def spans(units: Sequence[tuple[str, float, float]], kind: Kind) -> Iterator[Span]:
    """The items of a clip's units, in their order."""
    phones = sorted((each for each in units if each[2] > each[1]), key=lambda each: each[1])
    for place, (label, start, end) in enumerate(phones):
        if _pause(label):
            continue
        left = phones[place - 1] if place else None
        right = phones[place + 1] if place + 1 < len(phones) else None
        if left is not None and (_pause(left[0]) or abs(start - left[2]) > ADJOINING):
            left = None
        if right is not None and (_pause(right[0]) or abs(right[1] - end) > ADJOINING):
            right = None
        context = (left[0] if left else SILENCE, right[0] if right else SILENCE)
        if kind != "triphone":
            yield Span(label, context if kind == "phone" else None, start, end)
        elif left is not None and right is not None:
            yield Span(label, context, left[1], right[2])


def items(
    store: FeatureStore,
    layer: str,
    clips: Iterable[Clip],
    *,
    kind: Kind = "triphone",
    limit: int | None = None,
    seed: int = 0,
) -> Items:
    """The items of all clips with units whose features are in the store.

    At most `limit` items of a phone, context and speaker are kept, drawn by the seed alone. LabelError: there
    are no items, or features end long before the units.
    """
    labelled = {clip.id: clip for clip in clips if clip.units}
    there = [name for name in store.ids if name in labelled and store.lengths[name]]
    known = [name for name in there if labelled[name].speaker]
    names = known or there
    found = [(clip, span) for clip in names for span in spans(labelled[clip].units or (), kind)]
    if not found:
        raise LabelError(
            f"{store.path}: no utterance has {'triphones' if kind == 'triphone' else 'phones'} "
            "in the manifest (align it, or check the ids)"
        )
    labels, label_names = _numbers([span.label for _, span in found])
    contexts, _ = _numbers([span.context or ("", "") for _, span in found])
    speakers, voices = _numbers([labelled[clip].speaker or "" for clip, _ in found])
    owners, _ = _numbers([clip for clip, _ in found])
    kept = drawn(torch.stack([labels, contexts, speakers], 1), limit, seed)
    cut = [(found[place][0], _cut(store, *found[place])) for place in kept.tolist()]
    places: dict[str, list[Tensor]] = {}
    for clip, frames in cut:  # clip after clip, as they were found
        places.setdefault(clip, []).append(frames)
    return Items(
        frames=store.pick(layer, {clip: torch.cat(parts) for clip, parts in places.items()}),
        lengths=torch.tensor([len(frames) for _, frames in cut]),
        labels=labels[kept],
        contexts=contexts[kept],
        speakers=speakers[kept],
        clips=owners[kept].unique(return_inverse=True)[1],
        names=label_names,
        voices=voices,
        unknown=len(there) - len(names),
    )


def _pause(label: str) -> bool:
    return label.upper() in PAUSES


def _numbers(values: Sequence[str | tuple[str, str]]) -> tuple[Tensor, tuple[str, ...]]:
    """Each value's place among the different ones, and these."""
    different = sorted(set(values))
    numbers = {value: number for number, value in enumerate(different)}
    return torch.tensor([numbers[value] for value in values]), tuple(map(str, different))


def drawn(kinds: Int[Tensor, "items _"], limit: int | None, seed: int) -> Int[Tensor, " _"]:
    """The items that are kept, in their order: at most `limit` of a kind."""
    if limit is None:
        return torch.arange(len(kinds))
    shuffled = torch.randperm(len(kinds), generator=torch.Generator().manual_seed(seed))
    _, kind, counts = kinds[shuffled].unique(dim=0, return_inverse=True, return_counts=True)
    order = kind.argsort(stable=True)
    ranks = torch.arange(len(kinds)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return shuffled[order[ranks < limit]].sort().values


def _cut(store: FeatureStore, clip: str, span: Span) -> Int[Tensor, " _"]:
    """The places of a span's frames, at least one."""
    frames = store.lengths[clip]
    first, last = ((time - store.first_centre) / store.frame_seconds for time in (span.start, span.end))
    if (first - frames) * store.frame_seconds > MISSING:
        raise LabelError(
            f"{clip}: {span.label!r} begins at {span.start:g} s, the features in {store.path} end before it "
            "(do both belong to the same audio?)"
        )
    # rounding must not move a frame whose centre lies on a boundary
    start, end = (min(max(math.ceil(time - 1e-6), 0), frames) for time in (first, last))
    if start >= end:
        start = min(max(round((first + last) / 2), 0), frames - 1)
        end = start + 1
    return torch.arange(start, end)
