"""The measures of similarity by name: what each needs of a layer alone, and of two layers together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sonorant.evaluate.cca import Whitened, correlate, whiten
from sonorant.evaluate.cka import cka, kernel_hsic, linear_hsic, rbf_kernel
from sonorant.evaluate.moments import Moments, moments
from sonorant.evaluate.neighbours import likeness, mutual, nearest

CANONICAL = ("mean_cca", "svcca", "pwcca")
LINEAR, RBF, KNN = "linear_cka", "rbf_cka", "mutual_knn"
MEASURES = (*CANONICAL, LINEAR, RBF, KNN)


@dataclass(frozen=True)
class Alone:
    """What the chosen measures need of one layer; the rest is left out."""

    whitened: Whitened | None = None
    hsic: float = 0.0  # linear, with itself
    kernel: Float[Tensor, "n n"] | None = None  # of sampled frames
    likeness: Float[Tensor, "n n"] | None = None

    @cached_property
    def kernel_hsic(self) -> float:
        return 0.0 if self.kernel is None else kernel_hsic(self.kernel, self.kernel)

    @cached_property
    def neighbours(self) -> Bool[Tensor, "n n"] | None:
        return None if self.likeness is None else nearest(self.likeness)

    def only(self, frames: Int[Tensor, " some"]) -> "Alone":
        """With these of the sampled frames, in this order."""
        kernel, likeness = (
            None if each is None else each[frames][:, frames] for each in (self.kernel, self.likeness)
        )
        return replace(self, kernel=kernel, likeness=likeness)


def from_moments(own: Moments, measures: Sequence[str], *, sampled: Alone | None = None) -> Alone:
    """Of a layer's moments with itself, and what is there of sampled frames already."""
    return replace(
        sampled or Alone(),
        whitened=whiten(own.covariance) if set(CANONICAL) & set(measures) else None,
        hsic=linear_hsic(own) if LINEAR in measures else 0.0,
    )


def from_sample(frames: Float[Tensor, "n dim"], owners: Int[Tensor, " n"], measures: Sequence[str]) -> Alone:
    """Of sampled frames, of utterances with these numbers."""
    return Alone(
        kernel=rbf_kernel(frames) if RBF in measures else None,
        likeness=likeness(frames, owners) if KNN in measures else None,
    )


def together(first: Alone, second: Alone, sums: Moments, measures: Sequence[str]) -> dict[str, float]:
    """Each measure of two layers, from the moments of the one with the other and what each has alone."""
    found: dict[str, float] = {}
    if first.whitened is not None and second.whitened is not None:
        correlations = correlate(first.whitened, second.whitened, sums.covariance)
        values = (correlations.mean, correlations.svcca, correlations.pwcca)
        found |= dict(zip(CANONICAL, values, strict=True))
    if LINEAR in measures:
        found[LINEAR] = cka(linear_hsic(sums), first.hsic, second.hsic)
    if first.kernel is not None and second.kernel is not None:
        found[RBF] = cka(kernel_hsic(first.kernel, second.kernel), first.kernel_hsic, second.kernel_hsic)
    if first.neighbours is not None and second.neighbours is not None:
        found[KNN] = mutual(first.neighbours, second.neighbours)
    return {measure: found[measure] for measure in measures}


def in_memory(
    x: Float[Tensor, "n p"], y: Float[Tensor, "n q"], owners: Int[Tensor, " n"], measures: Sequence[str]
) -> dict[str, float]:
    """Each measure of frames that are all in memory."""
    x, y = (each.double() - each.double().mean(0) for each in (x, y))
    first, second = (
        from_moments(moments(each, each), measures, sampled=from_sample(each, owners, measures))
        for each in (x, y)
    )
    return together(first, second, moments(x, y), measures)


def rotation(dim: int, *, seed: int) -> Float[Tensor, "dim dim"]:
    """A random orthogonal matrix, each as likely: Mezzadri, 2007, https://arxiv.org/abs/math-ph/0609050"""
    drawn = torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(drawn)
    return torch.mul(q, r.diagonal().sign())
