"""Connectionist temporal classification's loss of each utterance; `objectives/ctc.py` has the equations."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from sonorant.types import Padded, pad


def ctc_losses(
    log_probabilities: Padded, labels: Padded, hidden: Bool[Tensor, "batch labels"] | None = None
) -> Float[Tensor, " batch"]:
    """-ln p(z | x) of each utterance, 0 where its labels do not fit into its frames; label 0 is the blank.

    A `hidden` label is a wildcard: one more symbol, which a frame has with 1 - y_0, the probability of any
    label but the blank. Pratap, Hannun, Synnaeve and Collobert, "Star Temporal Classification", NeurIPS 2022,
    https://arxiv.org/abs/2201.12208, have such a star wherever labels may be missing; here it stands where
    one is hidden. Between two of them stands a blank, as between all labels that are equal: so a path of
    blanks and stars alone is counted once, and there is nothing to be won by filling frames with labels.
    """
    lengths, values = log_probabilities.lengths, log_probabilities.values
    with torch.autocast(lengths.device.type, enabled=False):
        if hidden is None:
            return _losses(values, labels, lengths)
        star = values[..., 1:].logsumexp(-1, keepdim=True)
        wide = torch.cat([values, star], -1)
        # PyTorch's gradient is that of what comes out of a softmax only: the frames' sums stand apart
        sums = wide.logsumexp(-1, keepdim=True)
        labels = wildcards(labels, hidden, values.shape[-1])
        losses = _losses(wide - sums, labels, lengths)
        apart = (sums[..., 0] * log_probabilities.mask).sum(1)
        return torch.where(fitting(labels, lengths), losses - apart, 0.0)


def wildcards(labels: Padded, hidden: Bool[Tensor, "batch labels"], star: int) -> Padded:
    """The labels with a star in place of hidden ones."""
    return Padded(labels.values.masked_fill(hidden & labels.mask, star), labels.lengths)


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


def likeliest(log_probabilities: Padded) -> tuple[Padded, Float[Tensor, ""]]:
    """The labels of each utterance's likeliest path, repeats and blanks dropped, `batch labels`, and the mean
    posterior of the path's frames that are not blank (0 where there are none)."""
    posteriors, path = log_probabilities.values.max(-1)
    spoken = (path != 0) & log_probabilities.mask
    starts = spoken.clone()
    starts[:, 1:] &= path[:, 1:] != path[:, :-1]
    labels = pad([row[kept] for row, kept in zip(path, starts, strict=True)]).to(path.device)
    # one column at least: a loss of no labels at all needs a place to look at
    width = max(0, 1 - labels.values.shape[1])
    sure = (posteriors.exp() * spoken).sum() / spoken.sum().clamp(min=1)
    return Padded(F.pad(labels.values, (0, width)), labels.lengths), sure


def blank_share(log_probabilities: Padded) -> Float[Tensor, ""]:
    """The share of frames whose likeliest label is the blank."""
    blank = log_probabilities.values.detach().argmax(-1) == 0
    return blank[log_probabilities.mask].float().mean()
