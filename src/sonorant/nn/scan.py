"""A linear recurrence over time."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def linear_scan(
    keep: Float[Tensor, "batch time dim"], add: Float[Tensor, "batch time dim"]
) -> Float[Tensor, "batch time dim"]:
    """c_t = keep_t c_{t-1} + add_t from c_0 = 0, element by element, for at least one step.

    One fused operation a step, and as many for the gradient, which is the same recurrence from the end: a
    step needs no graph of its own.
    """
    states: Tensor = _Scan.apply(keep, add)
    return states


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keep: Tensor, add: Tensor) -> Tensor:
        keep = keep.transpose(0, 1).contiguous()
        states = add.transpose(0, 1).clone(memory_format=torch.contiguous_format)
        ctx.save_for_backward(keep, states)
        _recur(keep.unbind(), states.unbind())
        return states.transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        keep, states = ctx.saved_tensors
        gradient = gradients[0].transpose(0, 1).clone(memory_format=torch.contiguous_format)
        # step t hands its gradient on to t - 1 times keep_t
        _recur(keep.roll(-1, 0).unbind()[::-1], gradient.unbind()[::-1])
        of_keep = torch.zeros_like(keep)
        torch.mul(gradient[1:], states[:-1], out=of_keep[1:])
        return of_keep.transpose(0, 1), gradient.transpose(0, 1)


def _recur(keep: tuple[Tensor, ...], states: tuple[Tensor, ...]) -> None:
    """Adds to each state, in place, `keep` times the one before."""
    before = states[0]
    for kept, state in zip(keep[1:], states[1:], strict=True):
        state.addcmul_(kept, before)
        before = state
