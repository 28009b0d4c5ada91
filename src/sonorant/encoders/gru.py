"""The recurrent context network of Autoregressive Predictive Coding."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sonorant.config import Config
from sonorant.encoders.base import Context
from sonorant.encoders.sizes import Positive, Probability, check_divides
from sonorant.nn.dropout import Dropout
from sonorant.types import Hidden, Padded


class GRUConfig(Config, frozen=True, kw_only=True, tag_field="name", tag="gru"):
    """`residual` adds a layer's input to its output; `bidirectional` gives each direction half of `dim`."""

    dim: Positive = 512
    layers: Positive = 3
    bidirectional: bool = False
    residual: bool = True
    dropout: Probability = 0.0

    def __post_init__(self) -> None:
        if self.bidirectional:
            check_divides("two directions:", 2, "dim", self.dim)


class GRU(Context):
    """Gated recurrent layers, causal unless bidirectional.

    Chung et al. 2019, https://arxiv.org/abs/1904.03240. Dropout acts between the layers. Weights start as
    PyTorch has it: uniform within one over the square root of the width.
    """

    def __init__(self, config: GRUConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim
        self.causal = not config.bidirectional
        width = config.dim // 2 if config.bidirectional else config.dim
        self.layers = nn.ModuleList(
            nn.GRU(config.dim, width, batch_first=True, bidirectional=config.bidirectional)
            for _ in range(config.layers)
        )
        self.dropout = Dropout(config.dropout)

    def forward(self, frames: Padded) -> Hidden:
        values, outputs = frames.values.float(), []
        for index, layer in enumerate(self.layers, start=1):
            # a recurrence piles up the rounding errors of bfloat16, and is no faster in it
            with torch.autocast(values.device.type, enabled=False):
                recurrent = self._run(layer, Padded(values, frames.lengths))
            if index < len(self.layers):
                recurrent = self.dropout(recurrent)
            values = values + recurrent if self.config.residual else recurrent
            outputs.append(values)
        return Hidden(tuple(outputs), frames.lengths)

    def _run(self, layer: nn.Module, frames: Padded) -> Float[Tensor, "batch time dim"]:
        values: Tensor
        if self.causal:
            values, _ = layer(frames.values)  # the padding comes last: no real step sees it
            return values
        lengths, time = frames.lengths.cpu(), frames.values.shape[1]
        packed = pack_padded_sequence(frames.values, lengths, batch_first=True, enforce_sorted=False)
        values, _ = pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=time)
        return values
