"""The Transformer context network, as in wav2vec 2.0 and its successors."""

from typing import Literal, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sonorant.config import Config
from sonorant.encoders.base import Context
from sonorant.encoders.sizes import Positive, Probability, check_divides
from sonorant.nn.attention import Angles, SelfAttention, key_mask
from sonorant.nn.dropout import Dropout
from sonorant.nn.feedforward import feedforward
from sonorant.nn.positions import ConvolutionalPositions, rotary_angles
from sonorant.types import Hidden, Padded


class TransformerConfig(Config, frozen=True, kw_only=True, tag_field="name", tag="transformer"):
    """`norm`: layer normalisation in front of each block ("pre") or behind it ("post", wav2vec 2.0 BASE);
    `layerdrop` is the probability that a layer is skipped in training."""

    dim: Positive = 256
    layers: Positive = 6
    heads: Positive = 4
    feedforward: Positive = 1024
    norm: Literal["pre", "post"] = "post"
    positions: Literal["convolutional", "rotary", "none"] = "convolutional"
    position_kernel: Positive = 128  # frames
    position_groups: Positive = 16
    dropout: Probability = 0.1
    attention_dropout: Probability = 0.0
    layerdrop: Probability = 0.0

    def __post_init__(self) -> None:
        check_divides("heads", self.heads, "dim", self.dim)
        if self.positions == "convolutional":
            check_divides("position_groups", self.position_groups, "dim", self.dim)
        if self.positions == "rotary":
            check_divides("rotary pairs:", 2, "the width of a head", self.dim // self.heads)


class Transformer(Context):
    """Self-attention and feed-forward blocks; `Hidden.layers` are the layers' outputs, not their first input.

    Before the first layer positions are added, and with "post" the sum is normalised; with "pre" the output
    of the last layer is normalised. Weights start normal with deviation 0.02, biases at zero, as in BERT.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim
        self.causal = False
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = Dropout(config.dropout)
        self.apply(_initialise)
        if config.positions == "convolutional":
            self.positions = ConvolutionalPositions(
                config.dim, kernel=config.position_kernel, groups=config.position_groups
            )

    def forward(self, frames: Padded) -> Hidden:
        config, mask, angles = self.config, key_mask(frames), None
        values = frames.values.float()  # the sums along the layers stay in single precision
        if config.positions == "convolutional":
            values = values + self.positions(Padded(values, frames.lengths))
        elif config.positions == "rotary":
            angles = rotary_angles(values.shape[1], config.dim // config.heads, device=values.device)
        values = self.dropout(self.norm(values) if config.norm == "post" else values)
        outputs = []
        for layer in self.layers:
            if not self._dropped():
                values = layer(values, mask=mask, angles=angles)
            outputs.append(values)
        if config.norm == "pre":
            outputs[-1] = self.norm(values)
        return Hidden(tuple(outputs), frames.lengths)

    def blocks(self) -> tuple[nn.Module, ...]:
        return () if self.config.layerdrop else tuple(self.layers)

    def below(self, layers: int) -> tuple[str, ...]:
        names = super().below(layers)  # with "pre" the norm stands behind the last layer
        return names if self.config.norm == "post" else tuple(n for n in names if not n.startswith("norm."))

    def feedforwards(self) -> tuple[nn.Module, ...]:
        return tuple(cast(_Layer, layer).feedforward for layer in self.layers)

    def _dropped(self) -> bool:
        """LayerDrop (Fan et al. 2019, https://arxiv.org/abs/1909.11556), from the global generator."""
        return self.training and self.config.layerdrop > 0 and float(torch.rand(())) < self.config.layerdrop


class _Layer(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.pre = config.norm == "pre"
        self.attention_norm = nn.LayerNorm(config.dim)
        self.attention = SelfAttention(config.dim, heads=config.heads, dropout=config.attention_dropout)
        self.feedforward_norm = nn.LayerNorm(config.dim)
        self.feedforward = feedforward(config.dim, config.feedforward, dropout=config.dropout)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        values: Float[Tensor, "batch time dim"],
        *,
        mask: Bool[Tensor, "batch 1 1 time"] | None,
        angles: Angles | None,
    ) -> Float[Tensor, "batch time dim"]:
        if self.pre:
            attended = self.attention(self.attention_norm(values), mask=mask, angles=angles)
            values = values + self.dropout(attended)
            fed: Tensor = self.dropout(self.feedforward(self.feedforward_norm(values)))
            return values + fed
        attended = self.attention(values, mask=mask, angles=angles)
        values = self.attention_norm(values + self.dropout(attended))
        normalised: Tensor = self.feedforward_norm(values + self.dropout(self.feedforward(values)))
        return normalised


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
