"""Which utterances meet in which batch: a pure function of their lengths, the seed and the epoch.

The utterances are shuffled and dealt into pools of many batches; in a pool they are sorted by length and cut
into batches of like lengths; the order of the batches is shuffled. One step takes a batch for every rank, of
like sizes, so that no rank waits for another.

Where audio lies in archives, `by_block` keeps what is read at about the same time together: blocks of
neighbours are shuffled instead of utterances, a pool holds a few blocks from anywhere, and batches are
shuffled within their pool. So a pool's audio comes from a few places, each of some megabytes.
"""

import hashlib
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, overload

import numpy as np
from jaxtyping import Float64, Int64, UInt64

_POOL = 64  # batches that a pool is cut into, about: more pad less, fewer mix lengths and neighbours better
_BLOCK = 4  # batches that a block is as long as: more read on for longer, fewer mix better


class ScheduleError(ValueError):
    """Utterances that cannot be scheduled."""


class Planned(NamedTuple):
    """One batch to come: the utterances' numbers and the seed of each."""

    indices: tuple[int, ...]
    seeds: tuple[int, ...]


class Plan(Sequence[Planned]):
    """A rank's batches of an epoch, each made when it is asked for. A slice is a Plan too."""

    def __init__(
        self,
        lengths: Float64[np.ndarray, " utterances"],
        order: Int64[np.ndarray, " utterances"],
        bounds: Int64[np.ndarray, "batches 2"],
        *,
        seed: int,
        epoch: int,
    ) -> None:
        self._lengths, self._order, self._bounds = lengths, order, bounds
        self._seed, self._epoch = seed, epoch

    def __len__(self) -> int:
        return len(self._bounds)

    @overload
    def __getitem__(self, place: int) -> Planned: ...

    @overload
    def __getitem__(self, place: slice) -> "Plan": ...

    def __getitem__(self, place: int | slice) -> "Planned | Plan":
        if isinstance(place, slice):
            bounds = self._bounds[place]
            return Plan(self._lengths, self._order, bounds, seed=self._seed, epoch=self._epoch)
        first, end = self._bounds[place].tolist()
        indices = self._order[first:end]
        seeds = utterance_seeds(self._seed, self._epoch, indices)
        return Planned(tuple(indices.tolist()), tuple(seeds.tolist()))

    def padding_share(self) -> float:
        """The share of the batches' size that is padding, from 0 to 1."""
        first, end = self._bounds.T
        ordered = self._lengths[self._order]
        sums = np.append(0.0, np.cumsum(ordered))
        padded = float((ordered[end - 1] * (end - first)).sum())
        return 1 - float((sums[end] - sums[first]).sum()) / padded if padded else 0.0


def schedule(
    seconds: Sequence[float] | Float64[np.ndarray, " utterances"],
    *,
    batch_seconds: float,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    by_block: bool = False,
    rank: int = 0,
    world: int = 1,
) -> Plan:
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
    order = np.arange(len(lengths))
    if shuffle:
        groups = _stretches(lengths, _BLOCK * batch_seconds) if by_block else order
        order = np.argsort(_bits(int(groups[-1]) + 1, seed, epoch, "utterances")[groups], kind="stable")
    shuffled = lengths[order]
    pools = _stretches(shuffled, _POOL * batch_seconds) if shuffle else np.zeros_like(order)
    places, cuts = _batches(shuffled, pools, batch_seconds)
    order, cuts = order[places], _even(cuts, world)
    batches = np.stack([cuts[:-1], cuts[1:]], axis=1)
    regions = pools[cuts[:-1]] if by_block else np.zeros(len(batches), np.int64)
    loads = lengths[order[cuts[1:] - 1]] * np.diff(cuts)
    by_load = np.lexsort((loads, regions)) if world > 1 else np.arange(len(batches))
    steps = by_load.reshape(-1, world)
    if shuffle:
        steps = steps[np.lexsort((_bits(len(steps), seed, epoch, "steps"), regions[steps[:, 0]]))]
    return Plan(lengths, order, batches[steps[:, rank]], seed=seed, epoch=epoch)


def utterance_seeds(
    seed: int, epoch: int, indices: Int64[np.ndarray, " utterances"]
) -> Int64[np.ndarray, " utterances"]:
    """The utterances' own seeds in an epoch: 63 bits that depend on nothing else.

    They are the stream of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
    generators"), of which any place can be computed alone.
    """
    golden = np.uint64(0x9E3779B97F4A7C15)
    return _mixed(np.uint64(derived(seed, epoch)) + (indices.astype(np.uint64) + np.uint64(1)) * golden)


def draws(seeds: Int64[np.ndarray, " utterances"], name: str) -> Int64[np.ndarray, " utterances"]:
    """63 bits for each seed that are a function of seed and name, and look independent for any two."""
    return _mixed(seeds.astype(np.uint64) + np.uint64(derived(name)))


def derived(*key: int | str) -> int:
    """63 bits that are a function of the key, and look independent for any two keys."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _mixed(numbers: UInt64[np.ndarray, " _"]) -> Int64[np.ndarray, " _"]:
    """SplitMix64's scrambling of each number, without its last bit."""
    mixed = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: Int64[np.ndarray, " _"] = ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)
    return result


def _bits(count: int, *key: int | str) -> UInt64[np.ndarray, " count"]:
    # Raw bits, because NumPy promises the same ones in every version and its shuffles no such thing.
    return np.random.PCG64(derived(*key)).random_raw(count)


def _stretches(lengths: Float64[np.ndarray, " _"], size: float) -> Int64[np.ndarray, " _"]:
    """The number of the stretch of about `size` seconds in which each utterance begins."""
    numbers: Int64[np.ndarray, " _"] = ((np.cumsum(lengths) - lengths) // size).astype(np.int64)
    return numbers


def _batches(
    lengths: Float64[np.ndarray, " utterances"], pools: Int64[np.ndarray, " utterances"], budget: float
) -> tuple[Int64[np.ndarray, " utterances"], Int64[np.ndarray, " cuts"]]:
    """The places of utterances sorted by length in each pool, and where batches begin and end in that order:
    cut where one more would break the budget."""
    places = np.arange(len(lengths))
    cuts = array("q", [0])
    starts = np.flatnonzero(np.diff(pools, prepend=pools[0] - 1)).tolist()
    for start, end in pairwise([*starts, len(lengths)]):
        pool = lengths[start:end]
        order = np.argsort(pool, kind="stable")
        places[start:end] = start + order
        length, first = pool[order].tolist(), 0
        while first < len(length):
            count = min(len(length) - first, max(1, int(budget / length[first])))
            while count > 1 and length[first + count - 1] * count > budget:
                count -= 1
            first += count
            cuts.append(start + first)
    return places, np.array(cuts)


def _even(cuts: Int64[np.ndarray, " cuts"], world: int) -> Int64[np.ndarray, " _"]:
    """The cuts, with the fullest batches halved until their number is a multiple of `world`."""
    while excess := (len(cuts) - 1) % world:
        sizes = np.diff(cuts)
        fullest = int(sizes.argmax())
        if sizes[fullest] == 1:
            return cuts[excess:]
        cuts = np.insert(cuts, fullest + 1, cuts[fullest] + sizes[fullest] // 2)
    return cuts
