"""The Conformer context network."""

from typing import cast

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.config import Config, ConfigError
from sonorant.encoders.base import Context
from sonorant.encoders.sizes import Positive, Probability, check_divides
from sonorant.nn.attention import Angles, SelfAttention, key_mask
from sonorant.nn.convolution import DepthwiseConvolution
from sonorant.nn.dropout import Dropout
from sonorant.nn.positions import rotary_angles
from sonorant.types import Hidden, Padded


class ConformerConfig(Config, frozen=True, kw_only=True, tag_field="name", tag="conformer"):
    """`expansion` is the width of the feed-forward blocks in multiples of `dim`; `kernel` counts frames."""

    dim: Positive = 256
    layers: Positive = 6
    heads: Positive = 4
    expansion: Positive = 4
    kernel: Positive = 31
    dropout: Probability = 0.1

    def __post_init__(self) -> None:
        check_divides("heads", self.heads, "dim", self.dim)
        check_divides("rotary pairs:", 2, "the width of a head", self.dim // self.heads)
        if self.kernel % 2 == 0:
            raise ConfigError(f"kernel {self.kernel} must be odd, to be centred on its frame")


class Conformer(Context):
    """Gulati et al. 2020, "Conformer", https://arxiv.org/abs/2005.08100, with two changes.

    Positions are rotary, and the convolution is normalised over channels instead of over the batch: batch
    statistics would let the padding and the neighbours of an utterance change its frames. Weights start as
    Glorot and Bengio 2010 have it, biases at zero.
    """

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim
        self.causal = False
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.dropout = Dropout(config.dropout)
        self.apply(_initialise)

    def forward(self, frames: Padded) -> Hidden:
        values = self.dropout(frames.values.float())  # the sums along the layers stay in single precision
        width = self.dim // self.config.heads
        angles = rotary_angles(values.shape[1], width, device=values.device)
        mask, outputs = key_mask(frames), []
        for layer in self.layers:
            values = layer(values, mask=mask, angles=angles)
            outputs.append(values)
        return Hidden(tuple(outputs), frames.lengths)

    def blocks(self) -> tuple[nn.Module, ...]:
        return tuple(self.layers)

    def feedforwards(self) -> tuple[nn.Module, ...]:
        return tuple(cast(_Layer, layer).second for layer in self.layers)


class _Layer(nn.Module):
    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.first = _feedforward(config)
        self.attention_norm = nn.LayerNorm(config.dim)
        self.attention = SelfAttention(config.dim, heads=config.heads)
        self.convolution = _Convolution(config)
        self.second = _feedforward(config)
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        values: Float[Tensor, "batch time dim"],
        *,
        mask: Bool[Tensor, "batch 1 1 time"] | None,
        angles: Angles,
    ) -> Float[Tensor, "batch time dim"]:
        values = values + 0.5 * self.first(values)
        values = values + self.dropout(self.attention(self.attention_norm(values), mask=mask, angles=angles))
        values = values + self.dropout(self.convolution(values, mask=mask))
        values = values + 0.5 * self.second(values)
        normalised: Tensor = self.norm(values)
        return normalised


class _Convolution(nn.Module):
    """A gated pointwise, a depthwise and a pointwise convolution."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.dim)
        self.inward = nn.Linear(config.dim, 2 * config.dim)
        self.depthwise = DepthwiseConvolution(config.dim, kernel=config.kernel)
        self.depthwise_norm = nn.LayerNorm(config.dim)
        self.outward = nn.Linear(config.dim, config.dim)

    def forward(
        self, values: Float[Tensor, "batch time dim"], *, mask: Bool[Tensor, "batch 1 1 time"] | None
    ) -> Float[Tensor, "batch time dim"]:
        values = F.glu(self.inward(self.norm(values)), dim=-1)
        if mask is not None:
            values = values.masked_fill(~mask[:, 0, 0, :, None], 0)
        mixed: Tensor = self.outward(F.silu(self.depthwise_norm(self.depthwise(values))))
        return mixed


def _feedforward(config: ConformerConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(config.dim),
        nn.Linear(config.dim, config.expansion * config.dim),
        nn.SiLU(),
        Dropout(config.dropout),
        nn.Linear(config.expansion * config.dim, config.dim),
        Dropout(config.dropout),
    )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
