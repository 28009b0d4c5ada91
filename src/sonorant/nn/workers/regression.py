"""Workers that predict numbers from an embedding: features by a perceptron, the waveform by a decoder."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.nn.prelu import PReLU
from sonorant.nn.workers.judged import Judged
from sonorant.types import Padded

_SMALLEST = 1e-4  # deviation that is divided by


class Regressor(nn.Module):
    """One hidden layer with PReLU; the mean squared error of `neighbours` frames around each one,
    standardised by the mean and deviation of each dimension. Frames beyond the ends are not asked for."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int, target_dim: int, *, hidden: int, neighbours: int) -> None:
        super().__init__()
        self.inward = nn.Sequential(nn.Linear(dim, hidden), PReLU(hidden))
        self.outward = nn.ModuleList(nn.Linear(hidden, target_dim) for _ in range(neighbours))
        self.register_buffer("mean", torch.zeros(target_dim))
        self.register_buffer("deviation", torch.ones(target_dim))

    def forward(self, embedding: Padded, targets: Padded) -> Judged:
        hidden, real, time = self.inward(embedding.values), embedding.mask, embedding.values.shape[1]
        wanted = (targets.values - self.mean) / self.deviation
        total = torch.zeros(len(hidden), device=hidden.device)
        count = torch.zeros_like(total)
        for number, predict in enumerate(self.outward):
            offset = number - len(self.outward) // 2
            here = slice(max(0, -offset), max(0, time - max(0, offset)))
            there = slice(max(0, offset), max(0, time + min(0, offset)))
            both = real[:, here] & real[:, there]
            errors = (predict(hidden[:, here]).float() - wanted[:, there]).square().mean(-1)
            total = total + errors.masked_fill(~both, 0).sum(1)
            count = count + both.sum(1)
        return Judged(total / count.clamp(min=1), count > 0)


class WaveDecoder(nn.Module):
    """Transposed convolutions that grow by 4, 4 and a sixteenth of the stride, then a perceptron for each
    sample: the mean absolute error of the waveform, over its deviation."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int, stride: int, *, widths: Sequence[int], hidden: int) -> None:
        """ValueError: the stride is not divisible by 16."""
        super().__init__()
        if stride % 16:
            raise ValueError(f"worker wave: the encoder's stride of {stride} samples is not divisible by 16")
        steps = zip((dim, *widths[:-1]), widths, (4, 4, stride // 16), strict=True)
        self.layers = nn.ModuleList(Upsampling(inward, out, stride=each) for inward, out, each in steps)
        self.outward = nn.Sequential(nn.Linear(widths[-1], hidden), PReLU(hidden), nn.Linear(hidden, 1))
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("deviation", torch.ones(1))

    def forward(self, embedding: Padded, chunks: Padded) -> Judged:
        """`chunks` are the samples of each frame."""
        steps = embedding.zeroed()
        for layer in self.layers:
            steps = layer(steps)
        waves = self.outward(steps.values)[..., 0].float()
        wanted = (chunks.values.flatten(1) - self.mean) / self.deviation
        errors = (waves - wanted).abs().masked_fill(~steps.mask, 0).sum(1)
        return Judged(errors / steps.lengths.clamp(min=1), steps.lengths > 0)


class Upsampling(nn.Module):
    """A transposed convolution, `stride` steps for one, and PReLU; zeros in the padding.

    Its kernel of PASE is 30, here at least twice the stride. Every step gives a row of as many outputs as the
    kernel is long, and rows are added where they overlap: a product of matrices, which is fast in bfloat16.
    """

    def __init__(self, inward: int, outward: int, *, stride: int) -> None:
        super().__init__()
        self.stride, self.kernel = stride, max(30, 2 * stride)
        self.weight = nn.Parameter(torch.empty(inward, self.kernel, outward))
        nn.init.normal_(self.weight, std=(2 * stride / (inward * self.kernel)) ** 0.5)  # He et al. 2015
        self.bias = nn.Parameter(torch.zeros(outward))
        self.activation = PReLU(outward)

    def forward(self, steps: Padded) -> Padded:
        grown = Padded(self.activation(self.spread(steps.values)), steps.lengths * self.stride)
        return grown.zeroed()

    def spread(self, values: Float[Tensor, "batch time inward"]) -> Float[Tensor, "batch longer outward"]:
        """The transposed convolution, with the kernel's middle on that of a step's outputs."""
        batch, time, _ = values.shape
        rows = -(-self.kernel // self.stride)  # steps whose outputs meet
        weight = F.pad(self.weight, (0, 0, 0, rows * self.stride - self.kernel))
        parts = (values @ weight.flatten(1)).float().unflatten(-1, (rows, -1))
        total = parts.new_zeros(batch, time + rows - 1, parts.shape[-1])
        for row in range(rows):
            total[:, row : row + time] += parts[:, :, row]
        early = (self.kernel - self.stride) // 2
        samples = total.view(batch, (time + rows - 1) * self.stride, -1)
        middle: Tensor = samples[:, early : early + time * self.stride] + self.bias
        return middle


@torch.no_grad()
def standardise_targets(
    workers: Mapping[str, Regressor | WaveDecoder], targets: Iterable[Mapping[str, Padded]]
) -> None:
    """Sets each worker's mean and deviation to those of its targets' real steps, in one pass; the
    waveform's steps are chunks, of which all samples count alike."""
    counts = dict.fromkeys(workers, 0)
    sums = {name: worker.mean.new_zeros(2, len(worker.mean)).double() for name, worker in workers.items()}
    for batch in targets:
        for name, each in sums.items():
            rows = batch[name].values[batch[name].mask].double().view(-1, each.shape[1])
            counts[name] += len(rows)
            each += torch.stack([rows.sum(0), rows.square().sum(0)])
    for name, worker in workers.items():
        mean, square = sums[name] / max(counts[name], 1)
        worker.mean.copy_(mean)
        worker.deviation.copy_((square - mean.square()).clamp(min=0).sqrt().clamp(min=_SMALLEST))
