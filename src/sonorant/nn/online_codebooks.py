"""Clusters that are found while their points still move."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class OnlineCodebooks(nn.Module):
    """Codebooks that follow the frames nearest to their codewords, by exponential moving averages.

    DinoSR (Liu et al. 2023, https://arxiv.org/abs/2305.10005). A codeword is e_v = s_v / n_v; for the frames
    Z_v that it is nearest to,

        s_v = tau s_v + (1 - tau) sum over z in Z_v of z
        n_v = tau n_v + (1 - tau) |Z_v|

    As in the authors' code a codeword without frames stays as it is, and the first ones are normal noise,
    each channel standardised over the codebook.
    """

    sums: Tensor  # s
    counts: Tensor  # n
    new_sums: Tensor  # of the frames that were observed since they were last zero
    new_counts: Tensor

    def __init__(self, books: int, codes: int, dim: int) -> None:
        super().__init__()
        noise = torch.randn(books, dim, codes)
        words = F.instance_norm(noise) if codes > 1 else noise
        self.register_buffer("sums", words.transpose(1, 2).contiguous())
        self.register_buffer("counts", torch.ones(books, codes))
        self.register_buffer("new_sums", torch.zeros_like(self.sums), persistent=False)
        self.register_buffer("new_counts", torch.zeros(books, codes), persistent=False)

    @torch.no_grad()
    def assign(self, frames: Float[Tensor, "books frames dim"]) -> Int[Tensor, "books frames"]:
        """The nearest codeword of each frame in each book."""
        with torch.autocast(frames.device.type, enabled=False):
            words = self.sums / self.counts[..., None]
            half_norms = words.square().sum(-1)[:, None] / 2
            return torch.baddbmm(half_norms, frames.float(), words.transpose(1, 2), alpha=-1).argmin(-1)

    @torch.no_grad()
    def observe(self, frames: Float[Tensor, "books frames dim"], labels: Int[Tensor, "books frames"]) -> None:
        """Adds frames, with the codewords nearest to them, to what the next update is made of."""
        books, codes, dim = self.sums.shape
        places = (labels + codes * torch.arange(books, device=labels.device)[:, None]).flatten()
        self.new_sums.view(-1, dim).index_add_(0, places, frames.float().flatten(0, 1))
        self.new_counts += torch.bincount(places, minlength=books * codes).view(books, codes)

    def statistics(self) -> Sequence[Tensor]:
        """What has been observed: to be set to zero before a step, and summed over processes behind it."""
        return self.new_sums, self.new_counts

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Moves the codewords that have frames; tau is `decay`."""
        weight = (1 - decay) * (self.new_counts > 0)
        self.counts.lerp_(self.new_counts, weight)
        self.sums.lerp_(self.new_sums, weight[..., None])
