"""Connectionist temporal classification's loss of each utterance; `objectives/ctc.py` has the equations."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from sonorant.types import Padded


def ctc_losses(log_probabilities: Padded, labels: Padded) -> Float[Tensor, " batch"]:
    """-ln p(z | x) of each utterance, 0 where its labels do not fit into its frames; label 0 is the blank."""
    lengths = log_probabilities.lengths
    with torch.autocast(lengths.device.type, enabled=False):
        return F.ctc_loss(
            log_probabilities.values.transpose(0, 1),
            labels.values,
            lengths,
            labels.lengths,
            reduction="none",
            zero_infinity=True,
        )


def fitting(labels: Padded, frames: Int[Tensor, " batch"]) -> Bool[Tensor, " batch"]:
    """Whether so many frames can carry each utterance's labels: one each, and a blank between equal ones."""
    equal = labels.values[:, 1:] == labels.values[:, :-1]
    return labels.lengths + (equal & labels.mask[:, 1:]).sum(1) <= frames


def blank_share(log_probabilities: Padded) -> Float[Tensor, ""]:
    """The share of frames whose likeliest label is the blank."""
    blank = log_probabilities.values.detach().argmax(-1) == 0
    return blank[log_probabilities.mask].float().mean()
