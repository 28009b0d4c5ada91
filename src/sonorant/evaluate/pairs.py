"""Frames of two feature stores that belong together: of the same utterance, and nearest in time.

The store with fewer frames a second gives the moments, the centres of its frames; each is paired with the
other store's frame whose centre is nearest. A frame of the faster store stands in one pair at most, some in
none. Where the rates are the same, frames are paired one to one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sonorant.evaluate.sampling import Sample, SamplingError, choose
from sonorant.evaluate.store import FeatureStore

BATCH = 4096  # paired frames in memory at once, about
APART = 0.5  # seconds by which an utterance may be longer in one store than in the other


@dataclass(frozen=True)
class Pairs:
    """Two stores, the utterances of both that are compared, and the numbers of their paired frames."""

    stores: tuple[FeatureStore, FeatureStore]
    rows: dict[str, tuple[Int[Tensor, " n"], Int[Tensor, " n"]]]  # of an utterance, in both stores

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.rows)

    @property
    def frames(self) -> int:
        return sum(len(first) for first, _ in self.rows.values())

    def read(self, side: int, layer: str, ids: Sequence[str]) -> Float[Tensor, "n dim"]:
        """The paired frames of utterances in the first (0) or second (1) store, one behind the other."""
        frames = self.stores[side].read(layer, ids)
        return torch.cat([each[self.rows[name][side]] for name, each in zip(ids, frames, strict=True)])

    def batches(self, ids: Sequence[str], size: int = BATCH) -> Iterator[tuple[str, ...]]:
        """Utterances with at least `size` pairs together; what is left at the end joins the last."""
        waiting: tuple[str, ...] = ()
        batch: list[str] = []
        count = 0
        for name in ids:
            batch.append(name)
            count += len(self.rows[name][0])
            if count >= size:
                if waiting:
                    yield waiting
                waiting, batch, count = tuple(batch), [], 0
        yield (*waiting, *batch)

    def sample(self, frames: int, *, seed: int) -> Sample:
        """At most `frames` of all pairs, without replacement; utterances without one are left out."""
        chosen = choose([len(first) for first, _ in self.rows.values()], frames, seed=seed)
        return Sample({name: places for name, places in zip(self.ids, chosen, strict=True) if len(places)})

    def read_sample(self, side: int, layer: str, sample: Sample) -> Float[Tensor, "n dim"]:
        """The sampled frames of the first (0) or second (1) store."""
        places = {name: self.rows[name][side][chosen] for name, chosen in sample.places.items()}
        return self.stores[side].pick(layer, places)


def pair(first: FeatureStore, second: FeatureStore, *, frames: int, seed: int) -> Pairs:
    """The pairs of utterances that both stores have, in an order drawn by the seed, until `frames` are full.

    SamplingError: there are none, or an utterance is not about as long in both.
    """
    common = sorted(first.lengths.keys() & second.lengths.keys())
    order = torch.randperm(len(common), generator=torch.Generator().manual_seed(seed)).tolist()
    rows: dict[str, tuple[Tensor, Tensor]] = {}
    total = 0
    for name in (common[place] for place in order):
        if total >= frames:
            break
        matched = _matched(first, second, name)
        if len(matched[0]):
            rows[name] = matched
            total += len(matched[0])
    if not rows:
        raise SamplingError(
            f"{first.path} and {second.path}: no utterance in common (extract both from one manifest)"
        )
    return Pairs((first, second), rows)


def _matched(first: FeatureStore, second: FeatureStore, name: str) -> tuple[Tensor, Tensor]:
    seconds = [store.lengths[name] * store.frame_seconds for store in (first, second)]
    if abs(seconds[0] - seconds[1]) > APART:
        raise SamplingError(
            f"{name}: {seconds[0]:.2f} s in {first.path}, {seconds[1]:.2f} s in {second.path} "
            "(extract both from one manifest)"
        )
    if first.frame_seconds < second.frame_seconds:
        theirs, ours = _matched(second, first, name)
        return ours, theirs
    rows = torch.arange(first.lengths[name])
    nearest = second.nearest(first.first_centre + first.frame_seconds * rows.double())
    inside = (nearest >= 0) & (nearest < second.lengths[name])
    return rows[inside], nearest[inside]
