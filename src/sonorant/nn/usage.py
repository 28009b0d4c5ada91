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


def code_use(perplexity: Float[Tensor, "*books"], codes: int, frames: int) -> Float[Tensor, ""]:
    """How much of a codebook so many frames use, the mean over books: 0 if all have one code, 1 if all codes
    are in use as evenly, or as many as there are frames."""
    most = min(codes, frames)
    if most < 2:
        return torch.ones((), device=perplexity.device)
    return (perplexity.detach().mean() - 1) / (most - 1)
