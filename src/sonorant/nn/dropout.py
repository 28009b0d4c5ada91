"""Dropout that costs a processor less."""

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 1 << 16


class Dropout(nn.Dropout):
    """`nn.Dropout`, about twice as fast on a CPU: sixteen random bits decide on an element.

    The probability is rounded to 1/65536. Draws come from the global generator, as PyTorch's do.
    """

    def forward(self, values: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        if not values.is_cpu:
            return F.dropout(values, self.p, self.training)
        dropped = round(self.p * _LEVELS)
        if not self.training or dropped == 0:
            return values
        numbers = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = numbers.view(torch.int16)[: values.numel()].view(values.shape)
        kept = (bits >= dropped - _LEVELS // 2).to(values.dtype)
        return values * kept.mul_(_LEVELS / (_LEVELS - dropped))
