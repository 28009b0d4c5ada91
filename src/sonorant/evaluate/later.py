"""Frames with what comes a gap later: the pairs of which the label-free bounds ask what they share."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sonorant.evaluate.sampling import Parts, SamplingError, gather, split
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
    found, true_gap = pairs(store, layer, targets=targets, target_layer=target_layer, gap=gap)
    shares = (parts or split(store.ids)).shares(frames)
    train, validation, test = (Later(*gather(found, ids, limit=limit, seed=seed)) for ids, limit in shares)
    return (train, validation, test), true_gap


def pairs(
    store: FeatureStore, layer: str, *, targets: FeatureStore, target_layer: str, gap: float
) -> tuple[dict[str, tuple[Tensor, Tensor]], float]:
    """Each utterance's frames with the target frames nearest to `gap` seconds later, and the true gap."""
    wanted = dict(zip(targets.ids, targets.load(target_layer), strict=True))
    found, gaps = {}, []
    for name, frames in zip(store.ids, store.load(layer), strict=True):
        if name not in wanted:
            raise SamplingError(f"{name}: not in {targets.path} (extract both stores from one manifest)")
        times = store.centre(0) + store.frame_seconds * torch.arange(len(frames), dtype=torch.float64)
        nearest = targets.nearest(times + gap)
        inside = (nearest >= 0) & (nearest < len(wanted[name]))
        if store.section is not None:  # the target begins where the frame's section has ended, or later
            begins = targets.frame_seconds * nearest
            inside &= begins >= _ends(store, len(frames), store.section) - 1e-6
        found[name] = frames[inside], wanted[name][nearest[inside]]
        gaps.append(targets.centre(0) + targets.frame_seconds * nearest[inside] - times[inside])
    return found, round(torch.cat(gaps).mean().item(), 6)


def _ends(store: FeatureStore, frames: int, section: int) -> Float[Tensor, " frames"]:
    """When the audio that each frame may have seen ends: at the end of its section's last window."""
    bounds = section_bounds(frames, section)
    last = torch.tensor([end - 1 for end in bounds[1:]], dtype=torch.float64)
    ends = last * store.frame_seconds + 2 * store.first_centre  # a window is twice as long as to its centre
    return ends.repeat_interleave(torch.tensor([end - start for start, end in pairwise(bounds)]))
