"""A learned codebook of codebooks: one entry from each of several groups, side by side."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn


@dataclass(frozen=True)
class Quantized:
    """Codewords for frames, and how many entries are in use.

    A perplexity is the number of entries that would be used as evenly, summed over the groups: from the
    number of groups (one entry each: a collapsed codebook) to `groups * entries`.
    """

    values: Float[Tensor, "frames dim"]
    codes: Int[Tensor, "frames groups"]
    prob_perplexity: Float[Tensor, ""]  # of the mean softmax; it carries the gradient
    code_perplexity: Float[Tensor, ""]  # of the codes that are most probable without noise


class GumbelProductQuantizer(nn.Module):
    """Gumbel softmax over `entries` codewords in each of `groups` groups, with straight-through gradients.

    wav2vec 2.0 (Baevski et al. 2020, https://arxiv.org/abs/2006.11477, section 2), eq. 1. The temperature
    falls with the updates; it is a buffer, so that a resumed run continues with it.
    """

    temperature: Tensor

    def __init__(
        self,
        dim: int,
        output_dim: int,
        *,
        groups: int = 2,
        entries: int = 320,
        temperature: tuple[float, float, float] = (2.0, 0.999995, 0.5),
    ) -> None:
        """`temperature`: its start, its factor an update, and its floor. ValueError: `output_dim` is not
        divisible by `groups`."""
        if output_dim % groups:
            raise ValueError(f"{output_dim} output dimensions do not divide into {groups} groups")
        super().__init__()
        self.groups, self.entries = groups, entries
        self.logits = nn.Linear(dim, groups * entries)
        nn.init.normal_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)
        self.codewords = nn.Parameter(torch.rand(groups, entries, output_dim // groups))
        self.start, self.decay, self.floor = temperature
        self.register_buffer("temperature", torch.tensor(self.start))

    def anneal(self, step: int) -> None:
        """The temperature after update number `step`."""
        self.temperature.fill_(max(self.start * self.decay**step, self.floor))

    def noise(self, frames: int, generator: Generator) -> Float[Tensor, "frames groups entries"]:
        """Gumbel noise for so many frames, on the CPU."""
        shape = (frames, self.groups, self.entries)
        return -torch.empty(shape).exponential_(generator=generator).log()

    def forward(
        self,
        frames: Float[Tensor, "frames dim"],
        noise: Float[Tensor, "frames groups entries"] | None,
    ) -> Quantized:
        """The codewords of frames, drawn with the given noise; without noise the most probable ones."""
        logits = self.logits(frames).float().unflatten(1, (self.groups, self.entries))
        best = logits.argmax(-1)
        if noise is None:
            codes, choice = best, self._one_hot(best)
        else:
            soft = ((logits + noise) / self.temperature).softmax(-1)  # eq. 1
            codes = soft.argmax(-1)
            choice = self._one_hot(codes) - soft.detach() + soft
        values = torch.einsum("fge,ged->fgd", choice, self.codewords).flatten(1)
        count = max(len(frames), 1)
        return Quantized(
            values,
            codes,
            prob_perplexity=_perplexity(logits.softmax(-1).sum(0) / count),
            code_perplexity=_perplexity(self._one_hot(best).sum(0) / count),
        )

    def _one_hot(self, codes: Int[Tensor, "frames groups"]) -> Float[Tensor, "frames groups entries"]:
        return F.one_hot(codes, self.entries).float()


def _perplexity(probabilities: Float[Tensor, "groups entries"]) -> Float[Tensor, ""]:
    entropy = -(probabilities * (probabilities + 1e-7).log()).sum(-1)
    return entropy.exp().sum()
