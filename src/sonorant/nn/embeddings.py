"""What tells whether embeddings are any good: `batch dim`, a row each. Everything is without gradients."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

FEWEST = 8  # rows that can tell a rank of 2 from a healthy one

Embeddings = Float[Tensor, "batch dim"]


def health(first: Embeddings, second: Embeddings) -> dict[str, Float[Tensor, ""]]:
    """The figures that every method with two views reports; the rows of the two belong together.

    A collapse shows as `embedding_std` near 0 (one embedding for all) or `effective_rank` near 1 (one line
    for all) while the loss looks well. The rank is at most one less than the batch; of fewer than `FEWEST`
    utterances it says nothing and is left out.
    """
    with torch.no_grad(), torch.autocast(first.device.type, enabled=False):
        one, two = first.detach().float(), second.detach().float()
        figures = {"accuracy": accuracy(one, two)}
        if len(one) > 1:
            figures["embedding_std"] = spread(one)
        if len(one) >= FEWEST:
            figures["effective_rank"] = effective_rank(one)
        return figures


def spread(embeddings: Embeddings) -> Float[Tensor, ""]:
    """The standard deviation of a unit-length embedding's entries over the batch, times the root of `dim`:
    1 where they point everywhere, 0 where all are the same (Chen and He 2020,
    https://arxiv.org/abs/2011.10566, section 4.1)."""
    units: Tensor = F.normalize(embeddings, dim=1)
    return units.std(0, correction=0).mean() * math.sqrt(units.shape[1])


def effective_rank(embeddings: Embeddings) -> Float[Tensor, ""]:
    """exp of the entropy of the centred embeddings' singular values over their sum (O. Roy and M. Vetterli,
    "The effective rank", EUSIPCO 2007)."""
    values = torch.linalg.svdvals((embeddings - embeddings.mean(0)).double())
    shares = values / values.sum().clamp(min=1e-12)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp().float()


def accuracy(first: Embeddings, second: Embeddings) -> Float[Tensor, ""]:
    """How often an embedding's nearest one among the second, by cosine, is its own utterance's."""
    similar = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
    others = similar.masked_fill(torch.eye(len(similar), dtype=torch.bool, device=similar.device), -torch.inf)
    return (similar.diagonal() > others.amax(1)).float().mean()


def alignment(first: Embeddings, second: Embeddings) -> Float[Tensor, ""]:
    """The mean squared distance of an utterance's two unit-length embeddings (T. Wang and P. Isola 2020,
    https://arxiv.org/abs/2005.10242, section 4.1.1): 0 is best."""
    return (F.normalize(first, dim=1) - F.normalize(second, dim=1)).square().sum(1).mean()


def uniformity(embeddings: Embeddings) -> Float[Tensor, ""]:
    """ln of the mean of exp(-2 d^2) over pairs of unit-length embeddings (the same, section 4.1.2): 0 where
    all are the same, towards -4 the more evenly they lie on the sphere."""
    return F.pdist(F.normalize(embeddings, dim=1)).square().mul(-2).exp().mean().log()
