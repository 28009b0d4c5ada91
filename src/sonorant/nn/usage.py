"""How many codes are in use."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def perplexity(labels: Int[Tensor, " frames"], codes: int) -> Float[Tensor, ""]:
    """The number of codes that would be used as evenly: the exponential of the labels' entropy."""
    shares = torch.bincount(labels, minlength=codes).float() / max(len(labels), 1)
    return perplexity_of(shares)


def perplexity_of(shares: Float[Tensor, "*books codes"]) -> Float[Tensor, "*books"]:
    """The same, of each book's shares or probabilities, which sum to 1."""
    return torch.exp(torch.special.entr(shares).sum(-1))
