"""Spearman's rank correlation, with its interval."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST = 4  # pairs: three have six orders, of which the best comes by chance once in six


class Correlation(NamedTuple):
    """From -1 to 1, with a 95 % interval over bootstrap samples of the pairs, or of groups of them."""

    value: float
    low: float
    high: float
    n: int  # pairs


def correlation(
    x: Sequence[float], y: Sequence[float], *, groups: Sequence[Hashable] | None = None, drawn: int = 2000
) -> Correlation | None:
    """Of x and y, pair by pair; pairs of one group are drawn together. None: fewer than four pairs, or one
    side does not vary."""
    pairs = np.array([x, y], np.float64)
    count = pairs.shape[1]
    if count < LEAST:
        return None
    value = spearman(*pairs)
    if np.isnan(value):
        return None
    owners = np.arange(count) if groups is None else _numbered(groups)
    members = [np.flatnonzero(owners == each) for each in range(owners.max() + 1)]
    choices = np.random.default_rng(0).integers(len(members), size=(drawn, len(members)))
    samples = [spearman(*pairs[:, np.concatenate([members[each] for each in row])]) for row in choices]
    low, high = np.nanquantile(samples, [0.025, 0.975])  # a sample of one pair alone has none
    return Correlation(float(value), float(low), float(high), count)


def _numbered(groups: Sequence[Hashable]) -> NDArray[np.int64]:
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return np.array([numbers[group] for group in groups])


def spearman(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """The correlation of ranks along the last axis, ties at their mean rank; nan where a side is constant."""
    first, second = (_centred(_ranks(np.asarray(each, np.float64))) for each in (x, y))
    scale = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    product = (first * second).sum(-1)
    return np.divide(product, scale, out=np.full_like(scale, np.nan), where=scale > 0)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """One more than the number of smaller values and half that of equal ones."""
    mine, others = values[..., :, None], values[..., None, :]
    return np.asarray((mine > others).sum(-1) + ((mine == others).sum(-1) + 1) / 2, np.float64)


def _centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values - values.mean(-1, keepdims=True)
