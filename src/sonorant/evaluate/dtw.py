"""Distances between stretches of speech: each frame against each, then the cheapest way through (DTW).

A path goes from both first frames to both last ones by steps of one frame in one sequence or in both. The
distance is the sum of the frames' distances along the cheapest path, divided by the number of frame pairs on
it, as in T. Schatz, "ABX-discriminability measures and applications", PhD thesis, ENS Paris 2016, and in
ABXpy, the evaluation of Libri-light and fastabx. Of equally cheap paths the shortest counts, which makes the
distance symmetric. (Those programs follow the cheapest path back and prefer the diagonal, then the step in
the second sequence, then the one in the first: where discrete units make paths tie, their distance may
depend on the order of its arguments. Without ties all are the same.)

Cost and length travel in one number, 2^11 cost + length, so that one minimum finds the cheapest path and
among those the shortest. Frames' distances are rounded to 2^-31 of the largest possible; sums are then exact,
equal distances stay equal, and ties are ties.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Distance = Literal["angular", "euclidean", "kl"]

PATH = 2**11  # a path is shorter than that
GRID = 2**31  # steps from 0 to the largest distance; GRID * PATH * PATH is what float64 counts exactly
EPSILON = 1e-6  # added to probabilities before their logarithm
BLOCK, ALIKE = 512, 32  # frames of a block at most; items from which on a block has items of one length


class DistanceError(ValueError):
    """Frames or items that a distance is not defined for."""


def dtw(
    distances: Float[Tensor, "*pairs x y"], x: Int[Tensor, "*pairs"], y: Int[Tensor, "*pairs"]
) -> Float[Tensor, "*pairs"]:
    """The mean distance along the cheapest path of each pair of sequences with `x` and `y` frames.

    Distances lie between 0 and 1, in float64; what stands behind a pair's frames is not looked at. Cells on
    an anti-diagonal do not depend on one another: all of them, of all pairs, are one operation.
    """
    cells = distances.mul(GRID).round_().mul_(PATH).add_(1).movedim((-2, -1), (0, 1))
    if cells.stride(0) <= cells.stride(1):
        cells = cells.contiguous()  # an anti-diagonal is a view only with a positive stride
    rows, columns, *pairs = cells.shape
    down, right, *rest = cells.stride()
    # row i + 1 holds x's frame i; the rows above and below what has been reached stay infinite
    before, last, new = (cells.new_full((rows + 1, *pairs), torch.inf) for _ in range(3))
    before[0] = 0
    ends = x + y - 2
    result = cells.new_empty(pairs)
    for number in range(rows + columns - 1):
        low, high = max(0, number - columns + 1), min(rows, number + 1)
        offset = cells.storage_offset() + low * down + (number - low) * right
        here = cells.as_strided((high - low, *pairs), (down - right, *rest), offset)
        best = torch.minimum(last[low + 1 : high + 1], last[low:high])
        torch.minimum(best, before[low:high], out=best)
        torch.add(best, here, out=new[low + 1 : high + 1])
        if number >= ends.min():
            ended = (ends == number).nonzero(as_tuple=True)
            result[ended] = new[(x[ended], *ended)]
        before[0] = torch.inf
        before, last, new = last, new, before
    lengths = result.remainder(PATH)
    return (result - lengths) / (PATH * GRID) / lengths


@dataclass(frozen=True)
class Sequences:
    """Items' frames, ready for a distance: `finish` of the product of a left and a right side.

    Distances are in parts of the largest possible one: they are there to be compared.
    """

    left: Float[Tensor, "frames _"]
    right: Float[Tensor, "frames _"]
    finish: Callable[[Tensor], Tensor]
    lengths: Int[Tensor, " items"]

    def between(self, rows: Int[Tensor, " n"], columns: Int[Tensor, " m"]) -> Float[Tensor, "n m"]:
        """The distance of each item in `rows` from each in `columns`, in float32.

        If both are the same tensor, each pair is aligned once.
        """
        symmetric = rows is columns
        table = torch.empty(len(rows), len(columns))
        across = _blocks(self.lengths[columns])
        for number, down in enumerate(across if symmetric else _blocks(self.lengths[rows])):
            for right in across[number:] if symmetric else across:
                part = self._block(rows[down], columns[right]).float()
                table[down[:, None], right] = part
                if symmetric:
                    table[right[:, None], down] = part.T
        return table

    def _block(self, rows: Tensor, columns: Tensor) -> Tensor:
        left, right = self._frames(self.left, rows), self._frames(self.right, columns)
        product = left.flatten(0, 1) @ right.flatten(0, 1).T
        cells = self.finish(product).view(*left.shape[:2], *right.shape[:2]).permute(1, 3, 0, 2)
        x, y = torch.broadcast_tensors(self.lengths[rows][:, None], self.lengths[columns])
        return dtw(cells, x, y)

    def _frames(self, side: Tensor, items: Tensor) -> Tensor:
        """time item dim; behind an item's end its last frame again."""
        ends = self.lengths.cumsum(0)[items]
        steps = torch.arange(int(self.lengths[items].max()))[:, None]
        return side[torch.minimum(ends - self.lengths[items] + steps, ends - 1)]


def sequences(
    frames: Float[Tensor, "frames dim"], lengths: Int[Tensor, " items"], distance: Distance
) -> Sequences:
    """Items' frames, one item behind another, for a distance between frames.

    angular    the angle between them; a frame of zeros is as far as can be from any other
    euclidean  the length of their difference
    kl         Kullback and Leibler's divergence in both directions, halved; frames are probabilities

    DistanceError: an item is too long, or `kl` was asked for and frames are not probabilities.
    """
    if 2 * int(lengths.max()) > PATH:
        raise DistanceError(
            f"an item has {int(lengths.max())} frames, at most {PATH // 2} are possible "
            "(are the units phones?)"
        )
    frames = frames.double()
    if distance == "angular":
        norms = frames.norm(dim=1, keepdim=True)
        silent = norms == 0
        # the product of two marks: -1 of a frame and a silent one, 2^40 of silent ones, and 2^-40 of frames,
        # so that equal frames have the angle 0 in spite of rounding
        mark = torch.where(silent, -(2.0**20), 2.0**-20).to(frames.dtype)
        marked = torch.cat([frames / norms.masked_fill(silent, 1), mark], 1)
        return Sequences(marked, marked, _angle, lengths)
    one = frames.new_ones(len(frames), 1)
    if distance == "euclidean":
        squares = frames.square().sum(1, keepdim=True)
        left, right = torch.cat([-2 * frames, squares, one], 1), torch.cat([frames, one, squares], 1)
        largest = 2 * math.sqrt(float(squares.max())) or 1.0
        return Sequences(left, right, partial(_root, largest=largest), lengths)
    if bool((frames < 0).any()) or bool(((frames.sum(1) - 1).abs() > 0.01).any()):
        raise DistanceError("kl: frames are not probabilities (use angular, or extract posteriors)")
    logs = (frames + EPSILON).log()
    own = (frames * logs).sum(1, keepdim=True)
    left, right = torch.cat([-frames, -logs, own, one], 1), torch.cat([logs, frames, one, own], 1)
    largest = math.log((1 + EPSILON) / EPSILON) * 2.04  # the sums of frames may be 2 % off
    return Sequences(left, right, partial(_share, largest=largest), lengths)


def _angle(product: Tensor) -> Tensor:
    return product.clamp_(-1, 1).acos_().div_(math.pi)


def _root(product: Tensor, *, largest: float) -> Tensor:
    return product.clamp_(min=0).sqrt_().div_(largest)


def _share(product: Tensor, *, largest: float) -> Tensor:
    return product.clamp_(min=0).div_(largest)


def _blocks(lengths: Int[Tensor, " n"]) -> list[Int[Tensor, " _"]]:
    """Places of items, in blocks of alike lengths."""
    order = lengths.argsort(stable=True)
    sorted_lengths: list[int] = lengths[order].tolist()
    blocks, first = [], 0
    for place, length in enumerate(sorted_lengths):
        count = place - first
        longer = length > sorted_lengths[first]
        if count and ((count + 1) * length > BLOCK or (count >= ALIKE and longer)):
            blocks.append(order[first:place])
            first = place
    return [*blocks, order[first:]]
