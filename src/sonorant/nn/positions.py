"""Where in the sequence a frame stands: convolutional and rotary positions."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.types import Padded

_WIDTH = 16  # channels of a group that oneDNN can do in bfloat16


class ConvolutionalPositions(nn.Module):
    """wav2vec 2.0's relative positions: a wide grouped convolution over the frames, then GELU.

    The weight is normalised along the kernel: every one of its taps has a learned length and a direction.
    """

    def __init__(self, dim: int, *, kernel: int = 128, groups: int = 16) -> None:
        super().__init__()
        self.groups = groups
        direction = torch.randn(dim, dim // groups, kernel) * math.sqrt(4 / (kernel * dim))
        self.direction = nn.Parameter(direction)
        self.length = nn.Parameter(direction.norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, frames: Padded) -> Float[Tensor, "batch time dim"]:
        # a norm over the leading axes takes four to seven times as long as squares and their sum
        norm = self.direction.square().sum((0, 1)).sqrt()
        weight = self.direction * (self.length / norm)
        _, width, kernel = weight.shape
        values: Tensor = frames.zeroed().values.float()
        bias: Tensor = self.bias
        # oneDNN's bfloat16 sums are wrong for even widths below 16 (pytorch/pytorch#163347), and those in
        # single precision take seven times as long: narrow groups are filled up with zeros.
        missing = max(0, _WIDTH - width) if torch.is_autocast_enabled(values.device.type) else 0
        if missing:
            values = F.pad(values.unflatten(2, (self.groups, width)), (0, missing)).flatten(2)
            weight = weight.unflatten(0, (self.groups, width))
            weight = F.pad(weight, (0, 0, 0, missing, 0, missing)).flatten(0, 1)
            bias = F.pad(bias.view(self.groups, width), (0, missing)).flatten()
        columns = F.conv1d(values.transpose(1, 2), weight, bias, padding=kernel // 2, groups=self.groups)
        # an even kernel looks one step further back than ahead: its last output is one too many
        positions = columns[..., : values.shape[1]].transpose(1, 2)
        if missing:
            positions = positions.unflatten(2, (self.groups, _WIDTH))[..., :width].flatten(2)
        return F.gelu(positions)


def rotary_angles(
    time: int, dim: int, *, device: torch.device
) -> tuple[Float[Tensor, "time half"], Float[Tensor, "time half"]]:
    """Cosines and sines of RoFormer's rotary position embedding (Su et al. 2021, arXiv 2104.09864).

    `dim` is the width of an attention head; pair i turns by t * 10000^(-2i/dim) at step t.
    """
    frequencies = 10000 ** (-torch.arange(0, dim, 2, device=device) / dim)
    angles = torch.arange(time, device=device)[:, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(
    vectors: Float[Tensor, "batch heads time dim"],
    angles: tuple[Float[Tensor, "time half"], Float[Tensor, "time half"]],
) -> Float[Tensor, "batch heads time dim"]:
    """Queries or keys, turned by their positions: their products then depend on distances alone."""
    cosines, sines = (part.to(vectors.dtype) for part in angles)
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)
