"""Dropout that costs a processor less."""

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 1 << 8


class Dropout(nn.Dropout):
    """`nn.Dropout`, about five times as fast on a CPU, as `dropout` is."""

    def forward(self, values: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        return dropout(values, self.p) if self.training else values


def dropout(values: Shaped[Tensor, "*shape"], probability: float) -> Shaped[Tensor, "*shape"]:
    """Zeroes elements and scales the others; on a CPU eight random bits decide on an element.

    There the probability is rounded to 1/256 (from 1/256 to 255/256, unless it is 0), and what is kept is
    scaled by the rounded one. Draws come from the global generator, as PyTorch's do.
    """
    if probability == 0:
        return values
    if not values.is_cpu:
        return F.dropout(values, probability)
    dropped = min(max(round(probability * _LEVELS), 1), _LEVELS - 1)  # of so many levels
    numbers = torch.empty(-(-values.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    levels = numbers.view(torch.int8)[: values.numel()].view(values.shape)
    edge = dropped - _LEVELS // 2  # the lowest level that keeps its element
    kept = levels.clamp_(edge - 1, edge).sub_(edge - 1)  # 0 or 1, much faster than a comparison
    return values * kept.to(values.dtype).mul_(_LEVELS / (_LEVELS - dropped))
