"""Frames with what comes a gap later: the pairs of which the label-free bounds ask what they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sonorant.evaluate.sampling import Parts, SamplingError, sample, split
from sonorant.evaluate.store import FeatureStore, section_bounds


@dataclass(frozen=True)
class Later:
    """Frames, the frame a gap later that each belongs to, and the numbers of their utterances."""

    frames: Float[Tensor, "n dim"]
    targets: Float[Tensor, "n other"]
    utterances: Int[Tensor, " n"]


def sampled(
    store: FeatureStore,
    layer: str,
    *,
    targets: FeatureStore,
    target_layer: str,
    gap: float,
    frames: int,
    seed: int,
    parts: Parts | None,
) -> tuple[tuple[Later, Later, Later], float]:
    """Pairs to fit on, to choose on and to measure on, at most `frames` of each, and the true gap in seconds.

    SamplingError: the frames have seen what comes later, or too few pairs are there.
    """
    if store.sees_future:
        raise SamplingError(
            f"{store.path}: its frames have seen the audio that they would predict "
            "(extract them in sections: sonorant extract --to-score)"
        )
    places, true_gap = pairs(store, targets, gap)
    sizes = {name: len(earlier) for name, (earlier, _) in places.items()}

    def drawn(ids: Sequence[str], limit: int) -> Later:
        chosen = sample(sizes, ids, limit=limit, seed=seed)
        earlier, later = (
            {name: places[name][side][which] for name, which in chosen.places.items()} for side in (0, 1)
        )
        return Later(store.pick(layer, earlier), targets.pick(target_layer, later), chosen.owners)

    train, validation, test = (drawn(ids, limit) for ids, limit in (parts or split(store.ids)).shares(frames))
    return (train, validation, test), true_gap


def pairs(
    store: FeatureStore, targets: FeatureStore, gap: float
) -> tuple[dict[str, tuple[Int[Tensor, " n"], Int[Tensor, " n"]]], float]:
    """The places of each utterance's frames, and of the target frames nearest to `gap` seconds later, and the
    true gap."""
    found, gaps = {}, []
    for name, frames in store.lengths.items():
        if name not in targets.lengths:
            raise SamplingError(f"{name}: not in {targets.path} (extract both stores from one manifest)")
        times = store.centre(0) + store.frame_seconds * torch.arange(frames, dtype=torch.float64)
        nearest = targets.nearest(times + gap)
        inside = (nearest >= 0) & (nearest < targets.lengths[name])
        if store.section is not None:  # the target begins where the frame's section has ended, or later
            begins = targets.frame_seconds * nearest
            inside &= begins >= _ends(store, frames, store.section) - 1e-6
        found[name] = inside.nonzero()[:, 0], nearest[inside]
        gaps.append(targets.centre(0) + targets.frame_seconds * nearest[inside] - times[inside])
    return found, round(torch.cat(gaps).mean().item(), 6)


def _ends(store: FeatureStore, frames: int, section: int) -> Float[Tensor, " frames"]:
    """When the audio that each frame may have seen ends: at the end of its section's last window."""
    bounds = section_bounds(frames, section)
    last = torch.tensor([end - 1 for end in bounds[1:]], dtype=torch.float64)
    ends = last * store.frame_seconds + 2 * store.first_centre  # a window is twice as long as to its centre
    return ends.repeat_interleave(torch.tensor([end - start for start, end in pairwise(bounds)]))
