"""Labels for frames from a quantiser that is never trained."""

from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

Projection = Literal["random", "pca"]


class RandomProjectionQuantizer(nn.Module):
    """The nearest of `codes` random directions to a projected frame, in each of several codebooks.

    Chiu et al. 2022, "Self-supervised learning with random-projection quantizer for speech recognition"
    (BEST-RQ), https://arxiv.org/abs/2202.01855, section 3.1: with A the projection and c_i the codewords,

        y = argmin_i || norm(c_i) - norm(A x) ||,

    which is the largest cosine. `random` draws A for each codebook from the Glorot uniform distribution;
    `pca` takes the frames' principal axes, the same for all codebooks, after `fit`. Codewords are normal.
    All of it is fixed by the seed and kept in buffers.
    """

    mean: Tensor
    projection: Tensor
    codewords: Tensor

    def __init__(
        self,
        dim: int,
        code_dim: int,
        *,
        codebooks: int,
        codes: int,
        projection: Projection = "random",
        seed: int = 0,
    ) -> None:
        """ValueError: `pca` with more axes than a frame has dimensions."""
        if projection == "pca" and code_dim > dim:
            raise ValueError(f"code_dim: {code_dim} principal axes, but a frame has {dim} dimensions")
        super().__init__()
        self.kind = projection
        generator = torch.Generator().manual_seed(seed)
        bound = (6 / (dim + code_dim)) ** 0.5
        matrices = (2 * torch.rand(codebooks, dim, code_dim, generator=generator) - 1) * bound
        words = torch.randn(codebooks, codes, code_dim, generator=generator)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("projection", matrices)
        self.register_buffer("codewords", F.normalize(words, dim=-1))

    @torch.no_grad()
    def fit(self, batches: Iterable[Float[Tensor, "frames dim"]]) -> None:
        """Takes the principal axes of frames for the projection, from one pass over them; only for `pca`."""
        dim = len(self.mean)
        count, total, products = 0, torch.zeros(dim).double(), torch.zeros(dim, dim).double()
        for frames in batches:
            values = frames.double().cpu()
            count += len(values)
            total += values.sum(0)
            products += values.T @ values
        if count <= dim:
            raise ValueError(f"{count} frames are too few for the principal axes of {dim} dimensions")
        mean = total / count
        covariance = products / count - torch.outer(mean, mean)
        axes = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, : self.codewords.shape[-1]]
        # The sign of an axis is arbitrary: the largest entry is made positive.
        largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
        self.mean.copy_(mean)
        self.projection.copy_(axes * largest.sign())

    @torch.no_grad()
    def forward(self, frames: Float[Tensor, "frames dim"]) -> Int[Tensor, "frames codebooks"]:
        with torch.autocast(frames.device.type, enabled=False):
            projected = torch.einsum("fd,kdc->kfc", frames.float() - self.mean, self.projection)
            # The length of A x does not change which codeword has the largest cosine.
            similarities = projected @ self.codewords.transpose(1, 2)
        return similarities.argmax(-1).T
