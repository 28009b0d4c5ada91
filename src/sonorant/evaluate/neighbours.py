"""Mutual nearest neighbours: the share of a frame's k nearest frames in one layer that are so in the other.

Huh, Cheung, Wang and Isola, "The platonic representation hypothesis", 2024, https://arxiv.org/abs/2405.07987,
with cosines as there. Two things differ, for speech: frames are centred first, so that a mean that all share
does not decide, and frames of the same utterance are no candidates: a frame's neighbours in time are its
neighbours in every layer, trained or not. Layers that have nothing to do with each other share about k / n.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

NEIGHBOURS = 10


def likeness(frames: Float[Tensor, "n dim"], owners: Int[Tensor, " n"]) -> Float[Tensor, "n n"]:
    """Cosines of centred frames; minus infinity within an utterance, of which `owners` are the numbers."""
    unit = F.normalize(frames.double() - frames.double().mean(0), dim=1)
    return (unit @ unit.T).masked_fill(owners[:, None] == owners, -torch.inf).float()


def nearest(likeness: Float[Tensor, "n n"], k: int = NEIGHBOURS) -> Bool[Tensor, "n n"]:
    """Which frames are the k nearest of each, in rows. ValueError: a frame has fewer than k candidates."""
    candidates = int((likeness > -torch.inf).sum(1).min())
    if candidates < k:
        raise ValueError(f"{k} neighbours in other utterances, which have {candidates} frames (give more)")
    found = torch.zeros_like(likeness, dtype=torch.bool)
    return found.scatter_(1, likeness.topk(k).indices, value=True)


def mutual(first: Bool[Tensor, "n n"], second: Bool[Tensor, "n n"]) -> float:
    """The share of neighbours in the one that are neighbours in the other too."""
    return int((first & second).sum()) / int(first.sum())
