"""Recurrent layers over padded sequences, forwards or both ways.

`nn.LSTM` goes both ways over packed sequences only. On processors the gradient of those takes time that grows
with the square of the steps; two networks of one direction over padded sequences, the second of them over
reversed ones, compute the same in linear time.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sonorant.types import Padded


def backwards(frames: Padded) -> Int[Tensor, "batch time 1"]:
    """The steps of each sequence in reverse, its padding where it was: applied twice, nothing has changed."""
    steps = torch.arange(frames.values.shape[1], device=frames.values.device)
    return torch.where(frames.mask, frames.lengths[:, None] - 1 - steps, steps)[..., None]


def run(
    layer: Iterable[nn.Module],
    values: Float[Tensor, "batch time dim"],
    turned: Int[Tensor, "batch time 1"] | None,
) -> Float[Tensor, "batch time dim"]:
    """A layer's directions side by side: the first network's outputs, and behind them, with `turned` steps,
    the second one's. The padding comes last in each of them: no real step sees it."""
    ahead, *back = layer
    outputs: list[Tensor] = [ahead(values)[0]]
    if turned is not None:
        recurrent, _ = back[0](values.take_along_dim(turned, 1))
        outputs.append(recurrent.take_along_dim(turned, 1))
    return torch.cat(outputs, dim=-1)
