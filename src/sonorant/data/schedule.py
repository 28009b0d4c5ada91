"""Which utterances meet in which batch: a pure function of their lengths, the seed and the epoch.

The utterances are shuffled and dealt into pools of many batches; in a pool they are sorted by length and cut
into batches of like lengths; the order of the batches is shuffled. One step takes a batch for every rank, of
like sizes, so that no rank waits for another.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

Indices = Int64[np.ndarray, " _"]  # of the utterances of one batch

_POOL = 64  # batches that a pool is cut into, about: more pad less, fewer mix lengths and neighbours better


class ScheduleError(ValueError):
    """Utterances that cannot be scheduled."""


class Planned(NamedTuple):
    """One batch to come: the utterances' numbers and the seed of each."""

    indices: tuple[int, ...]
    seeds: tuple[int, ...]


def schedule(
    seconds: Sequence[float],
    *,
    batch_seconds: float,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    rank: int = 0,
    world: int = 1,
) -> list[Planned]:
    """A rank's batches of an epoch; every rank gets as many.

    A batch's padded size, its longest utterance times their number, stays within `batch_seconds`; a longer
    utterance is a batch of its own. Each utterance comes once in an epoch, on one rank. Where the batches do
    not share out evenly, the fullest are halved until they do; only if every batch is down to one utterance
    do fewer than `world` of them sit the epoch out, others in the next. Without `shuffle` a single rank's
    batches go from the shortest utterances to the longest.

    ScheduleError: a length is not positive, or there are fewer utterances than ranks.
    """
    lengths = np.asarray(seconds, np.float64)
    if len(lengths) < world:
        raise ScheduleError(
            f"{len(lengths)} utterances cannot feed {world} ranks (add data or take fewer ranks)"
        )
    wrong = ~(np.isfinite(lengths) & (lengths > 0))
    if wrong.any():
        raise ScheduleError(f"a length of {lengths[wrong][0]} s (leave empty utterances out)")
    order = _shuffled(len(lengths), seed, epoch, "utterances") if shuffle else np.arange(len(lengths))
    batches = _even(_batches(lengths, order, batch_seconds, shuffle), world)
    loads = [float(lengths[batch].max()) * len(batch) for batch in batches]
    by_load = np.argsort(loads, kind="stable") if world > 1 else np.arange(len(batches))
    steps = by_load.reshape(-1, world)
    if shuffle:
        steps = steps[_shuffled(len(steps), seed, epoch, "steps")]
    mine = [batches[number].tolist() for number in steps[:, rank]]
    return [Planned(tuple(b), tuple(utterance_seed(seed, epoch, index) for index in b)) for b in mine]


def utterance_seed(seed: int, epoch: int, index: int) -> int:
    """An utterance's own seed in an epoch: 63 bits that depend on nothing else."""
    return derived(seed, epoch, index)


def derived(*key: int | str) -> int:
    """63 bits that are a function of the key, and look independent for any two keys."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def padding_share(batches: Iterable[Sequence[float]]) -> float:
    """The share of padding in the size of batches, from 0 to 1; a batch is the lengths of its utterances."""
    real = padded = 0.0
    for lengths in batches:
        real += sum(lengths)
        padded += max(lengths) * len(lengths)
    return 1 - real / padded if padded else 0.0


def _shuffled(count: int, *key: int | str) -> Int64[np.ndarray, " count"]:
    # Raw bits, because NumPy promises the same ones in every version and its shuffles no such thing.
    bits = np.random.PCG64(derived(*key)).random_raw(count)
    return np.argsort(bits, kind="stable")


def _batches(
    lengths: Float64[np.ndarray, " utterances"],
    order: Int64[np.ndarray, " utterances"],
    budget: float,
    pooled: bool,
) -> list[Indices]:
    """Utterances in `order`, sorted by length in each pool and cut where one more would break the budget."""
    starts = np.cumsum(lengths[order]) - lengths[order]
    pools = (starts // (_POOL * budget)).astype(np.int64) if pooled else np.zeros(len(order), np.int64)
    order = order[np.lexsort((lengths[order], pools))]
    pools = np.sort(pools)
    cuts = [0]
    for place, (length, pool) in enumerate(zip(lengths[order].tolist(), pools.tolist(), strict=True)):
        first = cuts[-1]
        if place > first and (pool != pools[first] or length * (place + 1 - first) > budget):
            cuts.append(place)
    return np.split(order, cuts[1:])


def _even(batches: list[Indices], world: int) -> list[Indices]:
    """The batches, with the fullest ones halved until their number is a multiple of `world`."""
    batches = list(batches)
    while len(batches) % world:
        fullest = max(range(len(batches)), key=lambda number: len(batches[number]))
        batch = batches[fullest]
        if len(batch) == 1:
            return batches[len(batches) % world :]
        middle = len(batch) // 2
        batches[fullest : fullest + 1] = [batch[:middle], batch[middle:]]
    return batches
