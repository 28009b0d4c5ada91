"""Do confidences tell what is right? Characters of hypotheses that are sure against those that are correct.

The area under the receiver operating characteristic (AUROC) is the probability that a correct character is
surer than a wrong one, a tie counting half: 0.5 tells nothing, 1 everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sonorant.evaluate.sampling import Figure, interval, resamples

Utterance = tuple[Sequence[float], Sequence[bool]]  # each character's confidence, and whether it is correct


@dataclass(frozen=True)
class Separation:
    """How well confidences part correct characters from wrong ones."""

    auroc: Figure
    correct: float  # the mean confidence of correct characters
    wrong: float
    characters: int


def correct(reference: str, hypothesis: str) -> list[bool]:
    """Whether each character of a hypothesis stands in the reference, by the alignment of fewest errors."""
    kept = [False] * len(hypothesis)
    if reference and hypothesis:
        (chunks,) = jiwer.process_characters([reference], [hypothesis]).alignments
        for chunk in chunks:
            if chunk.type == "equal":
                kept[chunk.hyp_start_idx : chunk.hyp_end_idx] = [True] * (
                    chunk.hyp_end_idx - chunk.hyp_start_idx
                )
    return kept


def separation(utterances: Sequence[Utterance], *, seed: int = 0) -> Separation | None:
    """Over all characters, the interval over utterances; None: all are correct, or all are wrong."""
    scores = torch.tensor([each for scores, _ in utterances for each in scores], dtype=torch.float64)
    right = torch.tensor([each for _, right in utterances for each in right], dtype=torch.bool)
    if not len(right) or right.all() or not right.any():
        return None
    owners = torch.arange(len(utterances)).repeat_interleave(
        torch.tensor([len(each) for each, _ in utterances])
    )
    order = scores.argsort()
    scores_, right_, owners = scores[order], right[order], owners[order]
    value = float(auroc(scores_, right_, torch.ones_like(scores_)))
    low = high = None
    if len(utterances) > 1:
        drawn = torch.stack(
            [auroc(scores_, right_, row[owners]) for row in resamples(len(utterances), seed=seed)]
        )
        low, high = interval(drawn[drawn.isfinite()])
    return Separation(
        auroc=Figure(value, low, high),
        correct=float(scores[right].mean()),
        wrong=float(scores[~right].mean()),
        characters=len(right),
    )


def auroc(
    scores: Float[Tensor, " n"], right: Bool[Tensor, " n"], weights: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Of ascending scores, each counting as often as its weight says; NaN where all are right, or none."""
    _, groups = scores.unique_consecutive(return_inverse=True)
    size = int(groups[-1]) + 1
    positive = torch.zeros(size, dtype=weights.dtype).index_add_(0, groups, weights * right)
    negative = torch.zeros(size, dtype=weights.dtype).index_add_(0, groups, weights * ~right)
    below = negative.cumsum(0) - negative / 2
    return (positive * below).sum() / (positive.sum() * negative.sum())
