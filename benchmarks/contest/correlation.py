"""Spearman's rank correlation, with its interval."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST = 4  # pairs: three have six orders, of which the best comes by chance once in six


class Correlation(NamedTuple):
    """From -1 to 1, with a 95 % interval over bootstrap samples of the pairs."""

    value: float
    low: float
    high: float
    n: int


def correlation(x: Sequence[float], y: Sequence[float], *, drawn: int = 2000) -> Correlation | None:
    """Of x and y, pair by pair. None: fewer than four pairs, or one side does not vary."""
    pairs = np.array([x, y], np.float64)
    count = pairs.shape[1]
    if count < LEAST:
        return None
    value = spearman(*pairs)
    if np.isnan(value):
        return None
    samples = pairs[:, np.random.default_rng(0).integers(count, size=(drawn, count))]
    low, high = np.nanquantile(spearman(*samples), [0.025, 0.975])  # a sample of one pair alone has none
    return Correlation(float(value), float(low), float(high), count)


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
