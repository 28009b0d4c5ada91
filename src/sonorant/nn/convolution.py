"""Convolutions along time."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class DepthwiseConvolution(nn.Module):
    """Every channel's own filter of `kernel` steps, centred, with zeros beyond the ends.

    Weights start uniform within one over the square root of the kernel, as PyTorch's convolutions do.
    """

    def __init__(self, dim: int, *, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter((2 * torch.rand(dim, kernel) - 1) / math.sqrt(kernel))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, values: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time dim"]:
        # as an image one pixel high, channels last: no copy, and half the time of conv1d
        image = values.transpose(1, 2)[:, :, None]
        weight = self.weight[:, None, None].contiguous(memory_format=torch.channels_last)
        (dim, kernel), kind = self.weight.shape, values.device.type
        # oneDNN's bfloat16 kernel does not end for 16 channels and fewer (PyTorch 2.13, AMX)
        with torch.autocast(kind, enabled=torch.is_autocast_enabled(kind) and dim > 16):
            image = image if dim > 16 else image.float()
            filtered = F.conv2d(image, weight, self.bias, padding=(0, kernel // 2), groups=dim)
        return filtered[:, :, 0].transpose(1, 2)


def halve(
    frames: Float[Tensor, "batch time inward"],
    weight: Float[Tensor, "outward inward kernel"],
    bias: Float[Tensor, " outward"] | None = None,
) -> Float[Tensor, "batch half outward"]:
    """A convolution of stride 2 as products of matrices, for an even number of steps.

    Two steps side by side are one row of a matrix, so nothing is copied; a kernel that reaches beyond them
    adds the product of the next rows.
    """
    given = [frames, weight] if bias is None else [frames, weight, bias]
    if torch.is_autocast_enabled(frames.device.type):
        given = [each.to(torch.get_autocast_dtype(frames.device.type)) for each in given]
    halved: Tensor = _Halved.apply(*given)
    return halved


class _Halved(torch.autograd.Function):
    """Rows follow each other across the batch's utterances: the last of each one sees a stranger behind it,
    and is cut off; the gradient that it is given is zero."""

    @staticmethod
    def forward(ctx: Any, frames: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        (batch, steps, width), kernel = frames.shape, weight.shape[2]
        rows = frames.reshape(-1, 2 * width)
        first, *later = parts = weight.permute(0, 2, 1).flatten(1).split(2 * width, dim=1)
        result = rows @ first.T if bias is None else torch.addmm(bias, rows, first.T)
        for step, part in enumerate(later, 1):
            result[:-step].addmm_(rows[step:, : part.shape[1]], part.T)
        ctx.save_for_backward(rows, *parts)
        ctx.shape, ctx.kernel, ctx.biased = frames.shape, kernel, bias is not None
        return result.view(batch, steps // 2, -1)[:, : steps // 2 - len(later)]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        rows, first, *later = ctx.saved_tensors
        gradient = F.pad(gradients[0], (0, 0, 0, len(later))).flatten(0, 1)
        inward, weights = gradient @ first, [gradient.T @ rows]
        for step, part in enumerate(later, 1):
            inward[step:, : part.shape[1]].addmm_(gradient[:-step], part)
            weights.append(gradient[:-step].T @ rows[step:, : part.shape[1]])
        weight = torch.cat(weights, dim=1).unflatten(1, (ctx.kernel, -1)).permute(0, 2, 1)
        return inward.view(ctx.shape), weight, gradient.sum(0) if ctx.biased else None


def normalised_filters(
    windows: Float[Tensor, "batch time kernel"],
    counts: Int[Tensor, " batch"],
    weight: Float[Tensor, "channels kernel"],
    *,
    gain: Float[Tensor, " channels"],
    bias: Float[Tensor, " channels"],
    epsilon: float = 1e-5,
) -> tuple[Float[Tensor, "batch kernel channels"], Float[Tensor, "batch 1 channels"]]:
    """Filters and offsets whose outputs have zero mean and unit variance over time, times gain, plus bias.

    A group normalisation with one group a channel behind a convolution of one channel: the outputs' moments
    follow from those of the windows, so that the outputs are written once and never read for them. `counts`
    windows of each sequence count.
    """
    with torch.autocast(windows.device.type, enabled=False):
        real = (torch.arange(windows.shape[1], device=windows.device) < counts[:, None])[..., None]
        windows, weight = windows.float(), weight.float()
        number = counts.clamp(min=1)[:, None, None]
        mean = windows.masked_fill(~real, 0).sum(1, keepdim=True) / number
        centred = (windows - mean).masked_fill(~real, 0)
        covariance = centred.transpose(1, 2) @ centred / number
        variance = ((weight @ covariance) * weight).sum(-1)
        filters = (weight * (gain * (variance + epsilon).rsqrt())[..., None]).transpose(1, 2)
        return filters, bias - mean @ filters
