"""Activations that spare memory."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def gelu(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """GELU of values that nobody else holds: in their place, unless they are needed for a gradient.

    Writing large values anew takes up to three times as long, for the memory that is fetched for them.
    """
    needed = torch.is_grad_enabled() and values.requires_grad
    if needed or torch.compiler.is_compiling():
        return F.gelu(values)
    replaced: Tensor = torch.ops.aten.gelu_(values)
    return replaced
