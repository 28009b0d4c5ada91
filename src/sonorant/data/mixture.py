"""Batches of two datasets in a fixed ratio, such as a few transcripts beside many pseudo-labels."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import count

from sonorant.data.dataset import DataConfig, Dataset
from sonorant.data.schedule import derived
from sonorant.types import Batch

PASSES = 1 << 32  # more than a dataset can be gone through in an epoch


class Mixture:
    """A share of the batches comes from the second dataset, the others from the first, evenly in between.

    An epoch is one of the second dataset; the first is gone through as often as that takes, in another order
    each time, and begins anew with the epoch: so an epoch is a function of seed and number alone.
    """

    def __init__(self, first: Dataset, second: Dataset, share: float) -> None:
        self.first, self.second = first, second
        self.share = Fraction(share).limit_denominator(1000)

    @property
    def config(self) -> DataConfig:
        return self.first.config

    def batches(
        self, seed: int, epoch: int, *, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[Batch]:
        """An epoch's batches in their order, from batch `start` on. Errors: as a dataset has them."""
        other = derived(seed, "second")  # or clips of the same number would meet the same masks
        total = len(self.second.plan(other, epoch, rank=rank, world=world))
        place, taken = start, int(start * self.share)
        second = self.second.batches(other, epoch, start=taken, rank=rank, world=world)
        first = again_and_again(self.first, seed, epoch, start - taken, rank, world)
        while taken < total:
            place += 1
            if int(place * self.share) > taken:
                taken += 1
                yield next(second)
            else:
                yield next(first)


def again_and_again(
    dataset: Dataset, seed: int, epoch: int, start: int, rank: int, world: int
) -> Iterator[Batch]:
    """A dataset's batches without end, in another order each time, from batch `start` of an epoch on."""
    for number in count(epoch * PASSES):
        batches = len(dataset.plan(seed, number, rank=rank, world=world))
        if start < batches:
            yield from dataset.batches(seed, number, start=start, rank=rank, world=world)
        start = max(0, start - batches)
