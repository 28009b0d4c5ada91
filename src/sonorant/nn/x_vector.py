"""Speaker embeddings: the x-vector network, and a softmax with an additive margin.

D. Snyder et al., "X-Vectors: Robust DNN Embeddings for Speaker Recognition", ICASSP 2018. F. Wang et al.,
"Additive Margin Softmax for Face Verification", 2018, https://arxiv.org/abs/1801.05599:

    L = - 1/n sum_i log( e^{s (cos_yi - m)} / (e^{s (cos_yi - m)} + sum_{j != yi} e^{s cos_j}) )

Convolutions here keep the number of frames, with zeros around an utterance, so that short clips have
embeddings too; there is no batch normalisation, which would let neighbours change an utterance.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.nn.heads import Pool, scaled
from sonorant.types import Padded

SCALE, MARGIN = 30.0, 0.4
LAYERS = ((5, 1), (3, 2), (3, 3), (1, 1))  # kernel and dilation of each, of 512; then one frame, 1500


class XVector(nn.Module):
    """Frames to an embedding an utterance (512), and its cosines with one direction a speaker."""

    def __init__(self, dim: int, speakers: int, *, width: float = 1.0) -> None:
        super().__init__()
        size, pooled = scaled(512, width), scaled(1500, width)
        self.project = nn.Linear(dim, size)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(size, size, kernel, dilation=dilation, padding="same") for kernel, dilation in LAYERS
        )
        self.last = nn.Linear(size, pooled)
        self.pool = Pool("statistics")
        self.embed = nn.Linear(2 * pooled, size)
        self.directions = nn.Parameter(torch.randn(speakers, size))

    def forward(self, frames: Padded) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch speakers"]]:
        frames = Padded(self.project(frames.values), frames.lengths)
        for convolution in self.convolutions:
            values = convolution(frames.zeroed().values.transpose(1, 2)).transpose(1, 2)
            frames = Padded(values.relu(), frames.lengths)
        pooled = self.pool(Padded(self.last(frames.values).relu(), frames.lengths))
        return _with_cosines(self.embed(pooled), self.directions)


class PooledVector(nn.Module):
    """The same of the projected frames' mean and deviation alone."""

    def __init__(self, dim: int, speakers: int, *, width: float = 1.0) -> None:
        super().__init__()
        size = scaled(512, width)
        self.project = nn.Linear(dim, size)
        self.pool = Pool("statistics")
        self.embed = nn.Linear(2 * size, size)
        self.directions = nn.Parameter(torch.randn(speakers, size))

    def forward(self, frames: Padded) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch speakers"]]:
        pooled = self.pool(Padded(self.project(frames.values), frames.lengths))
        return _with_cosines(self.embed(pooled), self.directions)


def _with_cosines(embedding: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    return embedding, F.normalize(embedding, dim=1) @ F.normalize(directions, dim=1).T


def am_softmax(
    cosines: Float[Tensor, "batch speakers"],
    speakers: Int[Tensor, " batch"],
    *,
    scale: float = SCALE,
    margin: float = MARGIN,
) -> Float[Tensor, ""]:
    """The sum over utterances (the paper has the mean)."""
    own = F.one_hot(speakers, cosines.shape[1])
    return F.cross_entropy(scale * (cosines - margin * own), speakers, reduction="sum")
