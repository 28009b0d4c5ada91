"""The label of each frame, from a clip's units: what is spoken at the frame's centre."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from sonorant.data.manifest import Clip
from sonorant.evaluate.sampling import Examples, Parts, Sections, sample, split
from sonorant.evaluate.store import FeatureStore

SILENCE = "SIL"


class LabelError(ValueError):
    """Clips that do not label the utterances of a feature store."""


def frame_labels(units: Sequence[tuple[str, float, float]], centres: Iterable[float]) -> list[str]:
    """The unit around each centre, in seconds from the clip's start.

    A unit reaches from its start up to its end, without it. Of units that overlap the one that starts last
    counts. What no unit covers is `SIL`, the label that aligners give to silence.
    """
    ordered = sorted(units, key=lambda unit: unit[1])
    starts = [start for _, start, _ in ordered]
    labels = []
    for centre in centres:
        place = bisect_right(starts, centre) - 1
        covered = place >= 0 and centre < ordered[place][2]
        labels.append(ordered[place][0] if covered else SILENCE)
    return labels


@dataclass(frozen=True)
class Labelled:
    """The labelled frames of a layer.

    `names` are the training labels; a validation or test label that is not among them has the number
    `len(names)`, one class for all.
    """

    sections: Sections
    names: tuple[str, ...]

    @property
    def unseen(self) -> int:
        """Test frames whose label is in no training utterance."""
        return int((self.sections.test.labels == len(self.names)).sum())


def units_of(store: FeatureStore, clips: Iterable[Clip]) -> dict[str, list[tuple[str, float, float]]]:
    """The units of the store's utterances that have any. LabelError: none has."""
    units = {clip.id: clip.units for clip in clips if clip.units and clip.id in store.lengths}
    if not units:
        raise LabelError(f"{store.path}: no utterance has units in the manifest (align it, or check the ids)")
    return units


def labelled_frames(
    store: FeatureStore, layer: str, clips: Iterable[Clip], *, parts: Parts | None, limit: int, seed: int
) -> Labelled:
    """A layer's frames with the labels of their clips' units, at most `limit` of each part.

    Without `parts`, the utterances that have units are split by a hash of their ids. LabelError: there are
    none.
    """
    units = units_of(store, clips)
    names = {
        name: frame_labels(units[name], (store.centre(frame) for frame in range(frames)))
        for name, frames in store.lengths.items()
        if name in units
    }
    parts = parts or split(tuple(names))
    classes = sorted({label for name in parts.train for label in names.get(name, ())})
    numbers = {label: number for number, label in enumerate(classes)}
    sizes = {name: len(labels) for name, labels in names.items()}

    def examples(ids: Sequence[str], share: int) -> Examples:
        chosen = sample(sizes, ids, limit=share, seed=seed)
        labels = [
            numbers.get(names[name][place], len(classes))
            for name, places in chosen.places.items()
            for place in places.tolist()
        ]
        return Examples(store.pick(layer, chosen.places), torch.tensor(labels), chosen.owners)

    train, validation, test = (examples(ids, share) for ids, share in parts.shares(limit))
    return Labelled(Sections(train, validation, test), tuple(classes))
