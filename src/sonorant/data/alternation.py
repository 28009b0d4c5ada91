"""Batches of several datasets in turn, one of each."""

from collections.abc import Iterator, Sequence
from itertools import islice

from sonorant.data.dataset import DataConfig, Dataset
from sonorant.data.mixture import PASSES, again_and_again
from sonorant.data.schedule import derived
from sonorant.types import Batch


class Alternation:
    """The first dataset's batch, the second's, ..., and from the first one again.

    An epoch is one of the dataset with the most batches; the others are gone through as often as that takes,
    in another order each time, and begin anew with the epoch.
    """

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        self.datasets = tuple(datasets)

    @property
    def config(self) -> DataConfig:
        return self.datasets[0].config

    def batches(
        self, seed: int, epoch: int, *, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[Batch]:
        """An epoch's batches in their order, from batch `start` on. Errors: as a dataset has them."""
        count = len(self.datasets)
        # or clips of the same number would meet the same masks
        seeds = [derived(seed, "alternation", number) for number in range(count)]
        both = list(zip(self.datasets, seeds, strict=True))
        plans = (each.plan(own, epoch * PASSES, rank=rank, world=world) for each, own in both)
        rounds = max(map(len, plans))
        done, ahead = divmod(start, count)
        streams = [
            again_and_again(each, own, epoch, done + (number < ahead), rank, world)
            for number, (each, own) in enumerate(both)
        ]
        for place in range(start, rounds * count):
            yield from islice(streams[place % count], 1)
