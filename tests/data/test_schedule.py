"""Guards the schedule: each utterance once, within the budget, the same for a seed, fair to every rank."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonorant.data.schedule import ScheduleError, derived, draws, schedule, utterance_seeds

lengths = st.lists(st.floats(0.1, 40), min_size=1, max_size=300)
key = st.integers(0, 2**40)


def plan(seconds, world=1, **changes):
    settings = {"batch_seconds": 20.0, "seed": 1, "epoch": 0} | changes
    return [schedule(seconds, rank=rank, world=world, **settings) for rank in range(world)]


def indices(ranks):
    return sorted(index for rank in ranks for batch in rank for index in batch.indices)


@settings(deadline=None, max_examples=60)
@given(lengths, st.floats(0.5, 100), key, st.integers(0, 9), st.booleans())
def test_each_utterance_comes_once_and_within_the_budget(seconds, budget, seed, epoch, shuffle):
    (batches,) = plan(seconds, batch_seconds=budget, seed=seed, epoch=epoch, shuffle=shuffle)
    assert indices([batches]) == list(range(len(seconds)))
    for batch in batches:
        longest = max(seconds[index] for index in batch.indices)
        assert longest * len(batch.indices) <= budget or len(batch.indices) == 1
        assert batch.seeds == tuple(utterance_seeds(seed, epoch, np.array(batch.indices)).tolist())


@settings(deadline=None, max_examples=60)
@given(lengths, key, st.integers(1, 8), st.booleans())
def test_ranks_share_the_utterances_in_as_many_batches(seconds, seed, world, shuffle):
    if len(seconds) < world:
        with pytest.raises(ScheduleError, match=f"{len(seconds)} utterances cannot feed {world} ranks"):
            plan(seconds, world, seed=seed, shuffle=shuffle)
        return
    ranks = plan(seconds, world, seed=seed, shuffle=shuffle)
    assert len({len(rank) for rank in ranks}) == 1
    there = indices(ranks)
    assert len(there) == len(set(there))
    if len(there) < len(seconds):
        assert len(seconds) - len(there) < world
        assert all(len(batch.indices) == 1 for rank in ranks for batch in rank)


@settings(deadline=None, max_examples=30)
@given(lengths, key, st.integers(0, 9))
def test_a_schedule_is_a_function_of_lengths_seed_and_epoch(seconds, seed, epoch):
    (first,), (second,) = (plan(each, seed=seed, epoch=epoch) for each in (seconds, tuple(seconds)))
    assert list(first) == list(second)


def test_a_schedule_is_the_same_in_every_version():
    seconds = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    batches = schedule(seconds, batch_seconds=9.0, seed=3, epoch=2)
    assert [batch.indices for batch in batches] == [(4,), (0, 1, 2), (3,), (5,)]
    assert utterance_seeds(3, 2, np.array([1])).tolist() == [2393832652973908413]


def test_seeds_are_the_stream_of_splitmix64(monkeypatch):
    monkeypatch.setattr("sonorant.data.schedule.derived", lambda *key: 1234567)
    stream = [6457827717110365317, 3203168211198807973, 9817491932198370423]  # as published
    assert utterance_seeds(0, 0, np.arange(3)).tolist() == [number >> 1 for number in stream]


def test_draws_from_seeds_are_fair_and_owe_nothing_to_one_another():
    seeds = utterance_seeds(1, 2, np.arange(30000))
    first, second = draws(seeds, "speed") % 3, draws(seeds, "other") % 3
    assert abs(np.bincount(3 * first + second) / 30000 - 1 / 9).max() < 0.01
    assert (draws(seeds[77:78], "speed") % 3).tolist() == first[77:78].tolist()


def test_a_part_of_a_plan_is_a_plan():
    (batches,) = plan([1.0 + index % 7 for index in range(100)])
    assert list(batches[3:]) == list(batches)[3:]
    assert batches[-1] == list(batches)[-1]
    assert list(batches[len(batches) :]) == []
    with pytest.raises(IndexError):
        batches[len(batches)]


@pytest.mark.parametrize("world", [1, 3])
def test_by_block_a_stretch_of_the_epoch_reads_few_places(world):
    seconds = (1 + 9 * np.random.default_rng(0).random(6000)).tolist()
    ranks = plan(seconds, world, by_block=True)
    assert indices(ranks) == list(range(6000))
    steps = [sorted(sum((batch.indices for batch in step), ())) for step in zip(*ranks, strict=True)]
    for first in range(0, len(steps) - 48 // world, 48 // world):
        near = np.sort(np.concatenate(steps[first : first + 48 // world]))
        assert (np.diff(near) > 30).sum() < 40  # of about 170 utterances; a block has some 15
    anywhere = plan(seconds, world)
    near = np.sort(np.concatenate([batch.indices for batch in anywhere[0][: 48 // world]]))
    assert (np.diff(near) > 30).sum() * world > 60
    other = plan(seconds, world, by_block=True, epoch=1)
    company = {batch.indices for rank in ranks for batch in rank}
    assert len(company & {batch.indices for rank in other for batch in rank}) < len(company) / 20
    assert max(rank.padding_share() for rank in ranks) < 0.1
    loads = np.array([[max(seconds[i] for i in b.indices) * len(b.indices) for b in rank] for rank in ranks])
    assert np.mean(loads.max(0) / loads.min(0)) < 1.15


def test_utterances_that_sit_an_epoch_out_come_in_another():
    ranks = [indices(plan([15.0] * 11, 4, batch_seconds=15.0, epoch=epoch)) for epoch in range(20)]
    assert {len(epoch) for epoch in ranks} == {8}
    assert set().union(*ranks) == set(range(11))


def test_order_and_company_change_with_the_epoch_and_the_seed():
    seconds = (1 + 9 * np.random.default_rng(0).random(2000)).tolist()
    first, epoch, seed = plan(seconds)[0], plan(seconds, epoch=1)[0], plan(seconds, seed=2)[0]
    for other in (epoch, seed):
        assert len({batch.indices for batch in first} & {batch.indices for batch in other}) < 50
        assert not {seed for batch in first for seed in batch.seeds} & {
            s for batch in other for s in batch.seeds
        }
    loads = [max(seconds[index] for index in batch.indices) for batch in first]
    assert abs(np.corrcoef(loads[1:], loads[:-1])[0, 1]) < 0.2  # long and short batches alternate at random


def test_ranks_have_like_loads_and_little_padding():
    seconds = np.minimum(np.random.default_rng(0).gamma(2, 3, 3000) + 0.3, 15).tolist()
    ranks = plan(seconds, 4, batch_seconds=60.0)
    loads = np.array([[max(seconds[i] for i in b.indices) * len(b.indices) for b in rank] for rank in ranks])
    assert np.mean(loads.max(0) / loads.min(0)) < 1.05
    assert abs(loads.sum(1) / loads.sum(1).mean() - 1).max() < 0.02
    assert max(rank.padding_share() for rank in ranks) < 0.06


def test_without_shuffling_batches_go_from_short_to_long():
    seconds = np.random.default_rng(0).random(200).tolist()
    (batches,) = plan(seconds, shuffle=False, batch_seconds=5.0)
    assert [index for batch in batches for index in batch.indices] == np.argsort(seconds).tolist()


def test_padding_share_is_padding_over_padded_size():
    (batches,) = plan([3.0, 2.0, 1.0, 3.0], shuffle=False, batch_seconds=6.0)
    assert [batch.indices for batch in batches] == [(2, 1), (0, 3)]
    assert batches.padding_share() == pytest.approx(1 / 10)
    assert batches[:1].padding_share() == pytest.approx(1 / 4)
    assert batches[2:].padding_share() == 0


@pytest.mark.parametrize("length", [0.0, -1.0, float("nan"), float("inf")])
def test_a_length_that_is_none_is_an_error(length):
    with pytest.raises(ScheduleError, match=f"a length of {length} s"):
        plan([1.0, length])


def test_derived_numbers_are_63_bits_and_differ():
    numbers = {
        derived(seed, epoch, index) for seed in range(10) for epoch in range(10) for index in range(50)
    }
    assert len(numbers) == 5000
    assert 2**62 < max(numbers) < 2**63
    assert min(numbers) >= 0
    assert derived(1, 2) != derived(12)


def test_a_hundred_thousand_utterances_take_about_a_second():
    seconds = (1 + 14 * np.random.default_rng(0).random(100_000)).tolist()
    start = time.process_time()
    plan(seconds, batch_seconds=60.0)
    assert time.process_time() - start < 4  # 0.6 s on one core
