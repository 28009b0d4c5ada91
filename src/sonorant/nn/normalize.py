"""Normalisation over the real steps of padded sequences."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from sonorant.types import Padded


def standardize(sequences: Padded, *, epsilon: float = 1e-7) -> Padded:
    """Zero mean and unit variance for each sequence and channel over its real steps, zeros elsewhere."""
    zeroed = sequences.zeroed().values
    count = sequences.lengths.clamp(min=1).view(-1, *[1] * (zeroed.dim() - 1))
    mean = zeroed.sum(1, keepdim=True) / count
    centred = Padded(zeroed - mean, sequences.lengths).zeroed().values
    variance = centred.square().sum(1, keepdim=True) / count
    return Padded(centred * (variance + epsilon).rsqrt(), sequences.lengths)


def masked_instance_norm(
    values: Float[Tensor, "batch channels time"],
    lengths: Int[Tensor, " batch"],
    *,
    weight: Float[Tensor, " channels"],
    bias: Float[Tensor, " channels"],
) -> Float[Tensor, "batch channels time"]:
    """Group normalisation with one group a channel, whose statistics leave the padding out; zeros there."""
    channels, time = values.shape[1:]
    if bool((lengths == time).all()):
        return F.group_norm(values, channels, weight, bias)
    normalised = (
        F.pad(F.group_norm(one[None, :, :length], channels, weight, bias), (0, time - length))
        for one, length in zip(values, lengths.tolist(), strict=True)
    )
    return torch.cat(list(normalised))
