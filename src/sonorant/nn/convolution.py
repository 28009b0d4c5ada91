"""Depthwise convolution along time."""

import math

import torch
from jaxtyping import Float
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
        dim, kernel = self.weight.shape
        filtered = F.conv2d(image, weight, self.bias, padding=(0, kernel // 2), groups=dim)
        return filtered[:, :, 0].transpose(1, 2)
