"""How many directions frames use: effective ranks, which need no labels, no targets and no training.

With singular values s_1 >= s_2 >= ... of the matrix of n frames and p_k = s_k / sum_j s_j,

    effective rank       exp(-sum_k p_k log p_k)
    RankMe               the same with p_k + 1e-7, k up to min(n, dim)
    participation ratio  (sum_k s_k^2)^2 / sum_k s_k^4

- Effective rank: O. Roy and M. Vetterli, "The effective rank: a measure of effective dimensionality",
  EUSIPCO 2007. It is defined for any matrix; here the frames' mean is taken off first, because an offset that
  all frames share is one large singular value that tells nothing.
- RankMe: Q. Garrido, R. Balestriero, L. Najman and Y. LeCun, "RankMe: assessing the downstream performance of
  pretrained self-supervised representations by their rank", ICML 2023, https://arxiv.org/abs/2210.02885,
  eq. 1. As in the paper, the frames are taken as they are: not centred, not scaled.
- The participation ratio is that of the covariance's eigenvalues s_k^2, so of centred frames.

All three depend on the scale of single dimensions, grow with the number of frames until these are many more
than dimensions, and say nothing of what the directions mean: noise fills them all. Compare layers and
checkpoints of one architecture on the same utterances.

Singular values come from second moments in double precision, summed batch by batch: memory holds some
matrices of dim x dim and no more, however long the corpus. Intervals are a jackknife's over groups of
utterances; a bootstrap would repeat frames, and its ranks would be too small.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sonorant.evaluate.sampling import GROUPS, Figure, jackknife
from sonorant.evaluate.store import FeatureStore

BATCH = 16_384  # frames in memory at once, about
EPSILON = 1e-7  # RankMe's


@dataclass(frozen=True)
class Rank:
    """The ranks of a layer, each from 1 to `dim`, or 0 where no frame differs from zero, or from the mean."""

    layer: str
    rankme: Figure
    effective: Figure
    participation: Figure
    dim: int
    frames: int
    utterances: int
    seconds: float  # of wall time


@dataclass(frozen=True)
class Sums:
    """Of frames z, counted from an origin so that no digits are lost: how many, sum z and sum z z^T."""

    count: int
    first: Float[Tensor, " dim"]
    second: Float[Tensor, "dim dim"]

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(self.count + other.count, self.first + other.first, self.second + other.second)

    def __sub__(self, other: "Sums") -> "Sums":
        return Sums(self.count - other.count, self.first - other.first, self.second - other.second)


def rank(store: FeatureStore, layer: str) -> Rank:
    """The effective ranks of all frames of a layer; intervals where there are `GROUPS` utterances or more."""
    started = time.perf_counter()
    origin, groups = _sums(store, layer)
    total = groups[0]
    for group in groups[1:]:
        total += group
    figures = []
    left_out = [ranks(total - group, origin) for group in groups] if len(store.ids) >= GROUPS else []
    for place, value in enumerate(ranks(total, origin)):
        half = jackknife([each[place] for each in left_out]) if left_out else None
        figures.append(Figure(value) if half is None else Figure(value, value - half, value + half))
    return Rank(
        layer=layer,
        rankme=figures[0],
        effective=figures[1],
        participation=figures[2],
        dim=store.dims[layer],
        frames=total.count,
        utterances=len(store.ids),
        seconds=time.perf_counter() - started,
    )


def ranks(sums: Sums, origin: Float[Tensor, " dim"]) -> tuple[float, float, float]:
    """RankMe, effective rank and participation ratio of the frames that were summed."""
    mean = sums.first / sums.count
    centred = sums.second - sums.count * torch.outer(mean, mean)
    whole = centred + sums.count * torch.outer(mean + origin, mean + origin)
    varies, there = _squares(centred, sums), _squares(whole, sums)
    participation = float(varies.sum().square() / varies.square().sum()) if varies.any() else 0.0
    return _perplexity(there, EPSILON), _perplexity(varies, 0.0), participation


def _sums(store: FeatureStore, layer: str) -> tuple[Float[Tensor, " dim"], list[Sums]]:
    """The origin, near the frames, and the sums of each group of utterances."""
    dim = store.dims.get(layer, 0)
    origin = torch.zeros(dim, dtype=torch.float64)
    empty = Sums(0, torch.zeros_like(origin), torch.zeros(dim, dim, dtype=torch.float64))
    groups = [empty] * min(GROUPS, len(store.ids))
    numbers = {name: number % len(groups) for number, name in enumerate(store.ids)}
    for number, names in enumerate(_batches(store)):
        utterances = [frames.double() for frames in store.read(layer, names)]
        if not number:
            origin = torch.cat(utterances).mean(0)
        parts: dict[int, list[Tensor]] = {}
        for name, frames in zip(names, utterances, strict=True):
            parts.setdefault(numbers[name], []).append(frames - origin)
        for group, members in parts.items():
            frames = torch.cat(members)
            groups[group] += Sums(len(frames), frames.sum(0), frames.T @ frames)
    return origin, groups


def _batches(store: FeatureStore) -> Iterator[list[str]]:
    """Utterances in the store's order, with about `BATCH` frames together."""
    batch, frames = list[str](), 0
    for name in store.ids:
        batch.append(name)
        frames += store.lengths[name]
        if frames >= BATCH:
            yield batch
            batch, frames = [], 0
    if batch:
        yield batch


def _squares(moment: Float[Tensor, "dim dim"], sums: Sums) -> Float[Tensor, " some"]:
    """The squared singular values, largest first, as many as there can be; rounding alone becomes zero."""
    values = torch.linalg.eigvalsh(moment).flip(0)[: min(sums.count, len(moment))]
    size = torch.linalg.matrix_norm(sums.second) + values[0].abs()
    return torch.where(values > len(moment) * torch.finfo(values.dtype).eps * size, values, 0.0)


def _perplexity(squares: Float[Tensor, " some"], epsilon: float) -> float:
    singular = squares.sqrt()
    if not singular.any():
        return 0.0
    return float(torch.special.entr(singular / singular.sum() + epsilon).sum().exp())
