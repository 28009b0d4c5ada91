"""The context network of NPC: convolutions that do not see the frame that they describe."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.config import Config, ConfigError
from sonorant.encoders.base import Context
from sonorant.encoders.sizes import Positive, Probability
from sonorant.nn.dropout import Dropout
from sonorant.types import Hidden, Padded


class MaskedConvolutionsConfig(
    Config, frozen=True, kw_only=True, tag_field="name", tag="masked_convolutions"
):
    """`kernel` frames are looked at, of which `mask` in the middle are hidden: from the input's frames in the
    first layer, and from what the layers before have spread in the later ones."""

    dim: Positive = 512
    layers: Positive = 4
    kernel: Positive = 15
    mask: Positive = 5
    dropout: Probability = 0.1

    def __post_init__(self) -> None:
        widest = self.mask + 2 * self.layers
        if self.mask % 2 == 0 or self.kernel % 2 == 0 or self.kernel <= widest:
            raise ConfigError(
                f"kernel {self.kernel} and mask {self.mask} must be odd, and "
                f"kernel above mask + 2 * layers = {widest}"
            )


class MaskedConvolutions(Context):
    """Blocks of convolutions, each read by one with a hole in its middle; a layer is the sum of what is read.

    Liu, Chung, Glass 2021, https://arxiv.org/abs/2011.00406. A block sees one frame more to each side than
    the one before, and so the holes grow: no layer at step t depends on the `mask` frames around t, and none
    on frames further away than (kernel - 1) / 2 + layers. Layer normalisation, where the paper has batch
    normalisation, which would let padding and neighbours change an utterance.
    """

    def __init__(self, config: MaskedConvolutionsConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim
        self.causal = False
        self.layers = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.readers = nn.ModuleList(
            _Reader(config.dim, kernel=config.kernel, mask=config.mask + 2 * (index + 1))
            for index in range(config.layers)
        )

    def forward(self, frames: Padded) -> Hidden:
        values: Tensor = frames.zeroed().values.float()
        read = torch.zeros_like(values)
        outputs = []
        for block, reader in zip(self.layers, self.readers, strict=True):
            values = Padded(block(values), frames.lengths).zeroed().values
            read = read + reader(values)
            outputs.append(read)
        return Hidden(tuple(outputs), frames.lengths)

    def level(self, parameter: str) -> int:
        return super().level(parameter.replace("readers.", "layers.", 1))


class _Block(nn.Module):
    """Three frames to one, and a layer for each frame alone, beside a shortcut."""

    def __init__(self, config: MaskedConvolutionsConfig) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(config.dim, config.dim, 3, padding=1)
        self.convolution_norm = nn.LayerNorm(config.dim)
        self.linear = nn.Linear(config.dim, config.dim)
        self.linear_norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, values: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time dim"]:
        around = self.convolution(values.transpose(1, 2)).transpose(1, 2)
        seen = self.linear_norm(self.linear(self.convolution_norm(around).relu()))
        return F.relu(values + self.dropout(seen))


class _Reader(nn.Module):
    """A convolution whose `mask` weights in the middle are zero, and the hyperbolic tangent."""

    hole: Tensor

    def __init__(self, dim: int, *, kernel: int, mask: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(dim, dim, kernel, padding=kernel // 2)
        offsets = torch.arange(kernel) - kernel // 2
        self.register_buffer("hole", offsets.abs() <= mask // 2, persistent=False)

    def forward(self, values: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time dim"]:
        weight = self.convolution.weight.masked_fill(self.hole, 0)
        read = F.conv1d(
            values.transpose(1, 2),
            weight,
            self.convolution.bias,
            padding=cast(int, self.convolution.padding[0]),
        )
        return read.transpose(1, 2).tanh()
