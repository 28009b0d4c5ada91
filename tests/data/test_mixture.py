"""Guards mixtures: the ratio holds, an epoch can be resumed anywhere, and ranks share it out."""

from collections import Counter
from itertools import cycle, islice
from pathlib import Path

import pytest

from sonorant.data.dataset import DataConfig, Dataset
from sonorant.data.manifest import read
from sonorant.data.mixture import Mixture

CLIPS = read(Path(__file__).parents[1] / "fixtures" / "speech" / "manifest.jsonl")
CONFIG = DataConfig(manifest="all.jsonl", batch_seconds=4.0, crop_seconds=0.5, workers=0)
FEW, MANY = CLIPS[:8], CLIPS[8:48]


def mixture(share=0.5):
    return Mixture(Dataset(FEW, CONFIG), Dataset(MANY, CONFIG), share)


def kinds(batches):
    """Whether each batch comes from the second dataset."""
    names = {clip.id for clip in MANY}
    return [batch.ids[0] in names for batch in batches]


@pytest.mark.parametrize(("share", "pattern"), [(0.5, [0, 1]), (0.75, [0, 1, 1, 1]), (0.2, [0, 0, 0, 0, 1])])
def test_batches_stand_in_a_fixed_ratio(share, pattern):
    batches = list(mixture(share).batches(0, 0))
    found = kinds(batches)
    assert found == list(islice(cycle(map(bool, pattern)), len(found)))
    assert sum(found) == len(mixture().second.plan(0, 0))
    assert len(found) == pytest.approx(sum(found) / share, abs=1 / share)
    second = Counter(name for batch, of in zip(batches, found, strict=True) if of for name in batch.ids)
    assert second == Counter(clip.id for clip in MANY)


def test_the_first_dataset_is_gone_through_again_and_again_in_another_order():
    first = [batch for batch in mixture(0.2).batches(3, 1) if batch.ids[0] in {clip.id for clip in FEW}]
    counts = Counter(name for batch in first for name in batch.ids)
    assert len(counts) == len(FEW)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert min(counts.values()) >= 2
    seeds = [seed for batch in mixture().batches(3, 0) for seed in batch.seeds]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("start", range(0, 12, 3))
def test_an_epoch_goes_on_from_any_batch(start):
    for epoch in (0, 1):
        whole = [(batch.ids, batch.seeds) for batch in mixture(0.6).batches(7, epoch)]
        rest = [(batch.ids, batch.seeds) for batch in mixture(0.6).batches(7, epoch, start=start)]
        assert rest == whole[start:]
    assert whole != [(batch.ids, batch.seeds) for batch in mixture(0.6).batches(7, 0)]


def test_ranks_share_an_epoch_out():
    ranks = [list(mixture().batches(1, 0, rank=rank, world=2)) for rank in (0, 1)]
    assert len(ranks[0]) == len(ranks[1])
    assert kinds(ranks[0]) == kinds(ranks[1])
    for one, two in islice(zip(*ranks, strict=True), 4):
        assert not set(one.ids) & set(two.ids)
