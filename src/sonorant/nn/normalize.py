"""Normalisation over the real steps of padded sequences."""

from sonorant.types import Padded


def standardize(sequences: Padded, *, epsilon: float = 1e-7) -> Padded:
    """Zero mean and unit variance for each sequence and channel over its real steps, zeros elsewhere."""
    zeroed = sequences.zeroed().values
    count = sequences.lengths.clamp(min=1).view(-1, *[1] * (zeroed.dim() - 1))
    mean = zeroed.sum(1, keepdim=True) / count
    centred = Padded(zeroed - mean, sequences.lengths).zeroed().values
    variance = centred.square().sum(1, keepdim=True) / count
    return Padded(centred * (variance + epsilon).rsqrt(), sequences.lengths)
