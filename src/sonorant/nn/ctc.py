"""Connectionist temporal classification's loss of each utterance; `objectives/ctc.py` has the equations."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from sonorant.types import Padded


def ctc_losses(
    log_probabilities: Padded, labels: Padded, hidden: Bool[Tensor, "batch labels"] | None = None
) -> Float[Tensor, " batch"]:
    """-ln p(z | x) of each utterance, 0 where its labels do not fit into its frames; label 0 is the blank.

    A `hidden` label is a wildcard: on its frames the path has any label but the blank, which has 1 - y_0. It
    is a symbol of its own, as in Pratap, Hannun, Synnaeve and Collobert, "Star Temporal Classification",
    NeurIPS 2022, https://arxiv.org/abs/2201.12208, that stands where it is hidden and nowhere else.
    """
    lengths, values = log_probabilities.lengths, log_probabilities.values
    with torch.autocast(lengths.device.type, enabled=False):
        if hidden is None:
            return _losses(values, labels, lengths)
        star = values[..., 1:].logsumexp(-1, keepdim=True)
        wide = torch.cat([values, star, star], -1)
        # PyTorch's gradient is that of what comes out of a softmax only: the frames' sums stand apart
        sums = wide.logsumexp(-1, keepdim=True)
        labels = wildcards(labels, hidden, values.shape[-1])
        losses = _losses(wide - sums, labels, lengths)
        apart = (sums[..., 0] * log_probabilities.mask).sum(1)
        return torch.where(fitting(labels, lengths), losses - apart, 0.0)


def wildcards(labels: Padded, hidden: Bool[Tensor, "batch labels"], size: int) -> Padded:
    """The labels with `size` or `size + 1` in place of hidden ones: two, so that neighbours differ, and need
    no blank between them."""
    star = size + torch.arange(labels.values.shape[1], device=hidden.device) % 2
    return Padded(torch.where(hidden & labels.mask, star, labels.values), labels.lengths)


def _losses(
    values: Float[Tensor, "batch time labels"], labels: Padded, lengths: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    return F.ctc_loss(
        values.transpose(0, 1), labels.values, lengths, labels.lengths, reduction="none", zero_infinity=True
    )


def fitting(
    labels: Padded, frames: Int[Tensor, " batch"], hidden: Bool[Tensor, "batch labels"] | None = None
) -> Bool[Tensor, " batch"]:
    """Whether so many frames can carry each utterance's labels: one each, and a blank between equal ones."""
    if hidden is not None:
        labels = wildcards(labels, hidden, int(labels.values.max()) + 1)
    equal = labels.values[:, 1:] == labels.values[:, :-1]
    return labels.lengths + (equal & labels.mask[:, 1:]).sum(1) <= frames


def blank_share(log_probabilities: Padded) -> Float[Tensor, ""]:
    """The share of frames whose likeliest label is the blank."""
    blank = log_probabilities.values.detach().argmax(-1) == 0
    return blank[log_probabilities.mask].float().mean()
