"""Diarisation: who speaks when, in recordings of a known number of speakers. Its error rate, frame by frame.

    DER = sum over frames of max(n_ref, n_hyp) - n_correct / sum over frames of n_ref

where n_ref speakers speak, n_hyp are said to, and n_correct of them are the same under the best assignment of
the recording's speakers: misses, false alarms and confusions together. Overlapping speech counts for each of
its speakers; there is no collar around changes. J. G. Fiscus et al., "The Rich Transcription 2006 Spring
Meeting Recognition Evaluation".
"""

from itertools import permutations

import torch
from jaxtyping import Bool
from torch import Tensor


def diarisation_errors(
    reference: Bool[Tensor, "frames speakers"], hypothesis: Bool[Tensor, "frames speakers"]
) -> tuple[int, int]:
    """The errors of a recording under the best assignment, and the frames of speech of all its speakers."""
    spoken, said = reference.sum(1), hypothesis.sum(1)
    correct = max(
        int((reference & hypothesis[:, list(order)]).sum())
        for order in permutations(range(reference.shape[1]))
    )
    return int(torch.maximum(spoken, said).sum()) - correct, int(spoken.sum())
