"""Self-attention over padded frames."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.nn.positions import rotate
from sonorant.types import Padded

Angles = tuple[Float[Tensor, "time half"], Float[Tensor, "time half"]]


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
        mask: Bool[Tensor, "batch 1 1 time"] | None = None,
        angles: Angles | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """`mask` is True on the steps that may be attended to; None: on all of them."""
        split = self.inward(values).unflatten(-1, (3, self.heads, -1))
        queries, keys, content = split.permute(2, 0, 3, 1, 4)
        if angles is not None:
            queries, keys = rotate(queries, angles), rotate(keys, angles)
        if queries.is_cpu and queries.requires_grad:
            # on a CPU the backward pass in bfloat16 takes three times as long as in single precision
            queries, keys, content = queries.float(), keys.float(), content.float()
        dropout = self.dropout if self.training else 0.0
        with torch.autocast(queries.device.type, enabled=False):
            mixed = F.scaled_dot_product_attention(queries, keys, content, attn_mask=mask, dropout_p=dropout)
        attended: Tensor = self.outward(mixed.transpose(1, 2).flatten(2))
        return attended


def key_mask(frames: Padded) -> Bool[Tensor, "batch 1 1 time"] | None:
    """The mask that hides the padding from attention; None where there is none, which is faster."""
    mask = frames.mask
    return None if bool(torch.all(mask)) else mask[:, None, None]
