"""The label of each frame, from a clip's units: what is spoken at the frame's centre."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

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


def check_units(store: FeatureStore, clips: Iterable[Clip]) -> None:
    """LabelError: none of the store's utterances has units."""
    if not any(clip.units and clip.id in store.lengths for clip in clips):
        raise _without_units(store)


def _without_units(store: FeatureStore) -> LabelError:
    return LabelError(f"{store.path}: no utterance has units in the manifest (align it, or check the ids)")


def labelled_frames(
    store: FeatureStore, layer: str, clips: Iterable[Clip], *, parts: Parts | None, limit: int, seed: int
) -> Labelled:
    """A layer's frames with the labels of their clips' units, at most `limit` of each part.

    Without `parts`, the utterances that have units are split by a hash of their ids. LabelError: there are
    none.
    """
    spoken, names = _spoken(store, clips)
    if not spoken:
        raise _without_units(store)
    parts = parts or split(tuple(spoken))
    trained = {place for name in parts.train if name in spoken for place in spoken[name].unique().tolist()}
    classes = sorted(trained, key=names.__getitem__)
    numbers = torch.full((len(names),), len(classes))
    numbers[classes] = torch.arange(len(classes))
    sizes = {name: len(labels) for name, labels in spoken.items()}

    def examples(ids: Sequence[str], share: int) -> Examples:
        chosen = sample(sizes, ids, limit=share, seed=seed)
        labels = torch.cat([spoken[name][places] for name, places in chosen.places.items()])
        return Examples(store.pick(layer, chosen.places), numbers[labels], chosen.owners)

    train, validation, test = (examples(ids, share) for ids, share in parts.shares(limit))
    return Labelled(Sections(train, validation, test), tuple(names[place] for place in classes))


def _spoken(store: FeatureStore, clips: Iterable[Clip]) -> tuple[dict[str, Int[Tensor, " _"]], list[str]]:
    """What is said in each frame of utterances that have units, as a place among all labels, and these."""
    places: dict[str, int] = {}
    spoken = {
        clip.id: torch.tensor(
            [
                places.setdefault(label, len(places))
                for label in frame_labels(clip.units, map(store.centre, range(store.lengths[clip.id])))
            ],
            dtype=torch.int32,
        )
        for clip in clips
        if clip.units and clip.id in store.lengths
    }
    return spoken, list(places)
