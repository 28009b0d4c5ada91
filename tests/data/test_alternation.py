"""Guards alternation: kinds take turns, all of the longest is seen, and an epoch goes on from any batch."""

from collections import Counter
from itertools import cycle, islice
from pathlib import Path

import pytest

from sonorant.data.alternation import Alternation
from sonorant.data.dataset import DataConfig, Dataset
from sonorant.data.manifest import read

CLIPS = read(Path(__file__).parents[1] / "fixtures" / "speech" / "manifest.jsonl")
CONFIG = DataConfig(manifest="all.jsonl", batch_seconds=4.0, crop_seconds=0.5, workers=0)
PARTS = {"paired": CLIPS[:8], "speech": CLIPS[8:48], "text": CLIPS[48:70]}


def alternation(*kinds):
    return Alternation([Dataset(PARTS[kind], CONFIG, kind=kind) for kind in kinds or PARTS])


@pytest.mark.parametrize("kinds", [("speech", "text"), ("paired", "speech", "text"), ("text",)])
def test_kinds_take_turns_and_an_epoch_is_one_of_the_longest(kinds):
    batches = list(alternation(*kinds).batches(3, 1))
    assert [batch.kind for batch in batches] == list(islice(cycle(kinds), len(batches)))
    longest = max(kinds, key=lambda kind: len(PARTS[kind]))
    for kind in kinds:
        seen = Counter(name for batch in batches if batch.kind == kind for name in batch.ids)
        assert seen.keys() <= {clip.id for clip in PARTS[kind]}
        if kind == longest:
            assert seen == Counter(clip.id for clip in PARTS[kind])
        else:
            assert max(seen.values()) - min(seen.values()) <= 1
    seeds = [seed for batch in batches for seed in batch.seeds]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("start", [1, 2, 7, 12])
def test_an_epoch_goes_on_from_any_batch(start):
    whole = [(batch.kind, batch.ids, batch.seeds) for batch in alternation().batches(7, 2)]
    rest = [(batch.kind, batch.ids, batch.seeds) for batch in alternation().batches(7, 2, start=start)]
    assert rest == whole[start:]
    assert whole != [(batch.kind, batch.ids, batch.seeds) for batch in alternation().batches(7, 3)]


def test_ranks_meet_the_same_kinds_and_other_clips():
    ranks = [list(alternation("speech", "text").batches(1, 0, rank=rank, world=2)) for rank in (0, 1)]
    assert [batch.kind for batch in ranks[0]] == [batch.kind for batch in ranks[1]]
    for one, two in islice(zip(*ranks, strict=True), 4):
        assert not set(one.ids) & set(two.ids)
