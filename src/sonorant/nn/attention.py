"""Attention: of padded frames to one another, and of something else to them."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.nn.dropout import dropout as dropped
from sonorant.nn.positions import rotate
from sonorant.types import Padded

_SHORT = 512  # frames: up to here the weights take no more memory than the feed-forward blocks' values

Angles = tuple[Float[Tensor, "time half"], Float[Tensor, "time half"]]
KeysValues = tuple[Float[Tensor, "batch heads time width"], Float[Tensor, "batch heads time width"]]


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention, with rotary positions where angles are given."""

    def __init__(self, dim: int, *, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.inward = nn.Linear(dim, 3 * dim)  # queries, keys and values in one product
        self.outward = nn.Linear(dim, dim)

    def forward(
        self,
        values: Float[Tensor, "batch time dim"],
        *,
        mask: Bool[Tensor, "batch 1 queries time"] | None = None,
        angles: Angles | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """`mask` is True on the steps that may be attended to; None: on all of them."""
        queries, known = self.split(values, angles)
        return self.join(queries, known, mask)

    def split(
        self, values: Float[Tensor, "batch time dim"], angles: Angles | None
    ) -> tuple[Float[Tensor, "batch heads time width"], KeysValues]:
        """The steps' queries, and their keys and values."""
        queries, keys, content = self.inward(values).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if angles is not None:
            queries, keys = rotate(queries, angles), rotate(keys, angles)
        return queries, (keys, content)

    def join(
        self,
        queries: Float[Tensor, "batch heads time width"],
        known: KeysValues,
        mask: Bool[Tensor, "batch 1 queries time"] | None,
    ) -> Float[Tensor, "batch time dim"]:
        """What the queries find among keys and values."""
        mixed = _attend(queries, *known, mask, self.dropout if self.training else 0.0)
        attended: Tensor = self.outward(mixed.transpose(1, 2).flatten(2))
        return attended


class CrossAttention(nn.Module):
    """Multi-head scaled dot-product attention of steps to a memory of another width."""

    def __init__(self, dim: int, memory_dim: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Linear(dim, dim)
        self.inward = nn.Linear(memory_dim, 2 * dim)  # keys and values in one product
        self.outward = nn.Linear(dim, dim)

    def split(self, memory: Float[Tensor, "batch time memory_dim"]) -> KeysValues:
        """The memory's keys and values, which serve all steps."""
        keys, content = self.inward(memory).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return keys, content

    def forward(
        self,
        values: Float[Tensor, "batch steps dim"],
        memory: KeysValues,
        mask: Bool[Tensor, "batch 1 1 time"] | None,
    ) -> Float[Tensor, "batch steps dim"]:
        queries = self.queries(values).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        mixed = _attend(queries, *memory, mask, 0.0)
        attended: Tensor = self.outward(mixed.transpose(1, 2).flatten(2))
        return attended


def _attend(
    queries: Float[Tensor, "batch heads queries width"],
    keys: Float[Tensor, "batch heads time width"],
    content: Float[Tensor, "batch heads time width"],
    mask: Bool[Tensor, "batch 1 queries time"] | None,
    dropout: float,
) -> Float[Tensor, "batch heads queries width"]:
    """Scaled dot-product attention, the quickest way that there is for training on a CPU in bfloat16.

    PyTorch's own takes three times as long for its backward pass in bfloat16 as in single precision, and
    products of matrices half of that. Their weights are kept for the backward pass: for long sequences that
    is too much memory.
    """
    training = queries.is_cpu and queries.requires_grad
    with torch.autocast(queries.device.type, enabled=False):
        if training and queries.dtype == torch.bfloat16 and max(queries.shape[2], keys.shape[2]) <= _SHORT:
            scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
            if mask is not None:
                scores = scores.add_(torch.where(mask, 0.0, -1e30).to(scores.dtype))
            weights = scores.softmax(-1)
            return dropped(weights, dropout) @ content
        if training:
            queries, keys, content = queries.float(), keys.float(), content.float()
        return F.scaled_dot_product_attention(queries, keys, content, attn_mask=mask, dropout_p=dropout)


def key_mask(frames: Padded) -> Bool[Tensor, "batch 1 1 time"] | None:
    """The mask that hides the padding from attention; None where there is none, which is faster.

    An exported network has it always: its graph cannot depend on values.
    """
    mask = frames.mask
    padded = torch.compiler.is_compiling() or not bool(torch.all(mask))
    return mask[:, None, None] if padded else None
