"""The quasi-recurrent context network."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.config import Config
from sonorant.encoders.base import Context
from sonorant.encoders.sizes import Positive, check_divides
from sonorant.nn.recurrence import backwards
from sonorant.nn.scan import linear_scan
from sonorant.types import Hidden, Padded


class QRNNConfig(Config, frozen=True, kw_only=True, tag_field="name", tag="qrnn"):
    """`cells` are those of all directions, half of them each if `bidirectional`; `kernel` counts frames, up
    to the one in question; `residual` adds a layer's input to its output."""

    dim: Positive = 256
    layers: Positive = 1
    cells: Positive = 512
    kernel: Positive = 2
    bidirectional: bool = True
    residual: bool = True

    def __post_init__(self) -> None:
        if self.bidirectional:
            check_divides("two directions:", 2, "cells", self.cells)


class QRNN(Context):
    """Gates from convolutions, so that the recurrence is left with sums and products.

    Bradbury et al. 2016, "Quasi-Recurrent Neural Networks", https://arxiv.org/abs/1611.01576: with W, V, U
    convolutions over frames up to t,

        z_t = tanh(W x)_t, f_t = sigmoid(V x)_t, o_t = sigmoid(U x)_t           (eq. 1)
        c_t = f_t c_{t-1} + (1 - f_t) z_t,  h_t = o_t c_t                       (eq. 4, fo-pooling)

    As in PASE+ (Ravanelli et al. 2020, https://arxiv.org/abs/2001.09239) a matrix takes both directions' h_t
    to `dim`, and the output is normalised without gains: over the channels of a step, where PASE+ takes the
    batch. Zoneout is left out; the kernel of PASE+ could not be checked. Causal unless bidirectional.
    """

    def __init__(self, config: QRNNConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim
        self.causal = not config.bidirectional
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))

    def forward(self, frames: Padded) -> Hidden:
        turned = None if self.causal else backwards(frames)
        values, outputs = frames.values.float(), []
        for layer in self.layers:
            recurrent = layer(values, turned)
            values = values + recurrent if self.config.residual else recurrent.float()
            outputs.append(values)
        outputs[-1] = F.layer_norm(values, (self.dim,))
        return Hidden(tuple(outputs), frames.lengths)

    def blocks(self) -> tuple[nn.Module, ...]:
        return tuple(self.layers)


class _Layer(nn.Module):
    def __init__(self, config: QRNNConfig) -> None:
        super().__init__()
        directions = 2 if config.bidirectional else 1
        self.kernel = config.kernel
        self.gates = nn.ModuleList(
            nn.Linear(config.kernel * config.dim, 3 * config.cells // directions) for _ in range(directions)
        )
        self.outward = nn.Linear(config.cells, config.dim)

    def forward(
        self, values: Float[Tensor, "batch time dim"], turned: Tensor | None
    ) -> Float[Tensor, "batch time dim"]:
        """`turned` are the steps of each sequence in reverse. The padding comes last in both directions."""
        states = [self._run(values, self.gates[0])]
        if turned is not None:
            back = self._run(values.take_along_dim(turned, 1), self.gates[1])
            states.append(back.take_along_dim(turned, 1))
        projected: Tensor = self.outward(torch.cat(states, dim=-1))
        return projected

    def _run(self, values: Float[Tensor, "batch time dim"], gates: nn.Module) -> Tensor:
        around = F.pad(values, (0, 0, self.kernel - 1, 0)).unfold(1, self.kernel, 1).flatten(2)
        z, f, o = gates(around).float().chunk(3, dim=-1)  # eq. 1
        f = f.sigmoid()
        states: Tensor = o.sigmoid() * linear_scan(f, (1 - f) * z.tanh())  # eq. 4
        return states
