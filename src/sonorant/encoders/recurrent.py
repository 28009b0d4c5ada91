"""The recurrent context networks: gated recurrent units and long short-term memory."""

from typing import cast

import torch
from torch import nn

from sonorant.config import Config
from sonorant.encoders.base import Context
from sonorant.encoders.sizes import Positive, Probability, check_divides
from sonorant.nn.dropout import Dropout
from sonorant.nn.recurrence import backwards, run
from sonorant.types import Hidden, Padded


class RecurrentConfig(Config, frozen=True, kw_only=True):
    """`residual` adds a layer's input to its output; `bidirectional` gives each direction half of `dim`."""

    dim: Positive = 512
    layers: Positive = 3
    bidirectional: bool = False
    residual: bool = True
    dropout: Probability = 0.0

    def __post_init__(self) -> None:
        if self.bidirectional:
            check_divides("two directions:", 2, "dim", self.dim)


class GRUConfig(RecurrentConfig, frozen=True, kw_only=True, tag_field="name", tag="gru"):
    """Gated recurrent units."""


class LSTMConfig(RecurrentConfig, frozen=True, kw_only=True, tag_field="name", tag="lstm"):
    """Long short-term memory: on a CPU faster than GRU of the same width, two to three times in bfloat16 with
    AMX, 1.2 to 1.8 times in single precision without."""


class Recurrent(Context):
    """Recurrent layers, causal unless bidirectional.

    Chung et al. 2019, https://arxiv.org/abs/1904.03240. Dropout acts between the layers. Weights start as
    PyTorch has it: uniform within one over the square root of the width.
    """

    def __init__(self, config: GRUConfig | LSTMConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim
        self.causal = not config.bidirectional
        # PyTorch has a fast bfloat16 kernel for the LSTM; a GRU would pile up rounding errors for nothing
        self.low_precision = isinstance(config, LSTMConfig)
        kind = nn.LSTM if isinstance(config, LSTMConfig) else nn.GRU
        directions = 2 if config.bidirectional else 1
        self.layers = nn.ModuleList(
            nn.ModuleList(
                kind(config.dim, config.dim // directions, batch_first=True) for _ in range(directions)
            )
            for _ in range(config.layers)
        )
        self.dropout = Dropout(config.dropout)

    def forward(self, frames: Padded) -> Hidden:
        values, outputs = frames.values.float(), []
        device = values.device.type
        autocast = self.low_precision and torch.is_autocast_enabled(device)
        turned = None if self.causal else backwards(frames)
        for index, layer in enumerate(self.layers, start=1):
            with torch.autocast(device, enabled=autocast):
                recurrent = run(cast(nn.ModuleList, layer), values, turned)
            if index < len(self.layers):
                recurrent = self.dropout(recurrent)
            values = values + recurrent if self.config.residual else recurrent.float()
            outputs.append(values)
        return Hidden(tuple(outputs), frames.lengths)
