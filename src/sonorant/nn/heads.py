"""What is trained on a frozen upstream: weights of its layers, and small networks on their weighted sum.

S.-w. Yang et al., "SUPERB: Speech processing Universal PERformance Benchmark", Interspeech 2021,
https://arxiv.org/abs/2105.01051. Its heads are linear but for the recurrent ones: a projection to 256, the
mean over time, a linear layer.
"""

from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sonorant.nn.recurrence import backwards, run
from sonorant.nn.spec_augment import spec_augment_mask
from sonorant.types import Padded

Pooling = Literal["mean", "statistics"]
FLOOR = 1e-5  # of variances
DROPOUT = 0.2


class WeightedLayers(nn.Module):
    """A weighted sum of an upstream's layers, with weights that start alike and sum to one."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(layers))

    @property
    def weights(self) -> Float[Tensor, " layers"]:
        return self.scores.softmax(0)

    def forward(self, layers: Float[Tensor, "layers batch time dim"]) -> Float[Tensor, "batch time dim"]:
        summed: Tensor = torch.tensordot(self.weights, layers, 1)
        return summed


class Pool(nn.Module):
    """The mean of an utterance's frames, or (`statistics`) the mean and the deviation."""

    def __init__(self, pooling: Pooling) -> None:
        super().__init__()
        self.pooling = pooling
        self.times = 1 if pooling == "mean" else 2  # as wide as a frame

    def forward(self, frames: Padded) -> Float[Tensor, "batch _"]:
        lengths = frames.lengths[:, None].clamp(min=1)
        mean = frames.zeroed().values.sum(1) / lengths
        if self.pooling == "mean":
            return mean
        spread = Padded(frames.values - mean[:, None], frames.lengths).zeroed().values.square().sum(1)
        return torch.cat([mean, (spread / lengths).clamp(min=FLOOR).sqrt()], 1)


class UtteranceHead(nn.Module):
    """Frames to one output an utterance: project, pool, and a linear layer, or one hidden layer before it."""

    def __init__(
        self, dim: int, outputs: int, *, hidden: int, pooling: Pooling = "mean", deep: bool = False
    ) -> None:
        super().__init__()
        self.project = nn.Linear(dim, hidden)
        self.pool = Pool(pooling)
        pooled = hidden * self.pool.times
        middle = [nn.Linear(pooled, hidden), nn.ReLU()] if deep else []
        self.out = nn.Sequential(*middle, nn.Linear(hidden if deep else pooled, outputs))

    def forward(self, frames: Padded) -> Float[Tensor, "batch outputs"]:
        outputs: Tensor = self.out(self.pool(Padded(self.project(frames.values), frames.lengths)))
        return outputs


class FrameHead(nn.Module):
    """Frames to outputs a frame: project and a linear layer, or (`deep`) ReLU between them."""

    def __init__(self, dim: int, outputs: int, *, hidden: int, deep: bool = False) -> None:
        super().__init__()
        between = [nn.ReLU()] if deep else []
        self.layers = nn.Sequential(nn.Linear(dim, hidden), *between, nn.Linear(hidden, outputs))

    def forward(self, frames: Padded) -> Padded:
        return Padded(self.layers(frames.values), frames.lengths)


class RecurrentHead(nn.Module):
    """Frames to outputs a frame: project, two bidirectional LSTMs with dropout behind each, a linear layer.

    In training stretches of frames and groups of channels are hidden from it (SpecAugment).
    """

    def __init__(self, dim: int, outputs: int, *, hidden: int) -> None:
        super().__init__()
        self.project = nn.Linear(dim, hidden)
        self.recurrent = nn.ModuleList(
            nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for _ in range(2))
            for width in (hidden, 2 * hidden)
        )
        self.dropout = nn.Dropout(DROPOUT)
        self.out = nn.Linear(2 * hidden, outputs)

    def forward(self, frames: Padded) -> Padded:
        if self.training:
            frames = _hidden(frames)
        values, turned = self.project(frames.zeroed().values), backwards(frames)
        for layer in self.recurrent:
            values = self.dropout(run(cast(nn.ModuleList, layer), values, turned))
        return Padded(self.out(values), frames.lengths)


def _hidden(frames: Padded) -> Padded:
    """The frames with zeros where SpecAugment hides them, drawn from torch's generator."""
    seeds = torch.randint(2**62, (len(frames.values),)).tolist()
    mask = spec_augment_mask(
        frames.lengths.tolist(),
        [torch.Generator().manual_seed(seed) for seed in seeds],
        bands=frames.values.shape[2],
        time_masks=2,
        time_share=0.1,
        band_masks=2,
        band_share=0.1,
    )
    time = frames.values.shape[1] - mask.shape[1]
    mask = nn.functional.pad(mask, (0, 0, 0, time)).to(frames.values.device)
    return Padded(frames.values.masked_fill(mask, 0), frames.lengths)


def scaled(size: int, width: float) -> int:
    """A published size times `width`, at least 1."""
    return max(1, round(size * width))
