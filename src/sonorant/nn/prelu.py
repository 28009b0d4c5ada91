"""An activation whose slope is learned."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class PReLU(nn.PReLU):
    """What is below zero times a slope, which each channel learns (He et al. 2015,
    https://arxiv.org/abs/1502.01852), for channels on the last axis."""

    def forward(self, values: Float[Tensor, "*steps dim"]) -> Float[Tensor, "*steps dim"]:
        rows = values.reshape(-1, values.shape[-1])
        return F.prelu(rows, self.weight.to(rows.dtype)).view(values.shape)
