"""A network that follows another one slowly: the momentum encoder, or target network."""

import copy
import math
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def follower(module: M) -> M:
    """A copy with the same weights that no gradient changes; batch statistics are its own."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, momentum: float) -> None:
    """slow = momentum * slow + (1 - momentum) * fast, weight by weight."""
    torch._foreach_lerp_(list(slow.parameters()), list(fast.parameters()), 1 - momentum)


def linear_momentum(step: int, steps: int, start: float, end: float) -> float:
    """From `start` at step 0 to `end` at step `steps` in a straight line, and `end` from there on."""
    return start + min(step / steps, 1.0) * (end - start)


def cosine_momentum(step: int, steps: int, start: float) -> float:
    """From `start` at step 0 to 1 at step `steps`, where the slow network stops, along half a cosine:
    1 - (1 - start) (cos(pi step / steps) + 1) / 2 (Grill et al. 2020, https://arxiv.org/abs/2006.07733,
    section 3.2)."""
    return 1 - (1 - start) * (math.cos(math.pi * min(step / steps, 1.0)) + 1) / 2
