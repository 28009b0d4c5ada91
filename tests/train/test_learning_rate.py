"""Guards the learning rate's shape at the steps where it turns."""

import math
from itertools import pairwise

import pytest

from sonorant.config import ConfigError, convert
from sonorant.train.schedule import ScheduleConfig, learning_rate, steps_for


def rates(total: int, **settings: object) -> list[float]:
    config = ScheduleConfig(peak=2.0, **settings)  # type: ignore[arg-type]
    return [learning_rate(step, total, config) for step in range(1, total + 1)]


@pytest.mark.parametrize("decay", ["linear", "cosine", "tri_stage", "constant"])
def test_it_rises_in_a_line_to_the_peak_and_never_again(decay):
    told = rates(100, decay=decay)
    assert told[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert all(later <= sooner for sooner, later in pairwise(told[9:]))
    assert max(told) == 2.0


def test_linear():
    told = rates(100, decay="linear")
    assert told[54] == pytest.approx(1.0)
    assert told[99] == pytest.approx(0.0)
    assert rates(100, decay="linear", final=0.5)[99] == pytest.approx(1.0)


def test_cosine():
    told = rates(100, decay="cosine", final=0.1)
    assert told[54] == pytest.approx(2.0 * 0.55)
    assert told[99] == pytest.approx(0.2)
    assert told[32 - 1] == pytest.approx(2.0 * (0.1 + 0.9 * (1 + math.cos(math.pi * 22 / 90)) / 2))


def test_tri_stage_is_wav2vec_2s():
    told = rates(1000, decay="tri_stage")
    assert told[:100] == pytest.approx([2.0 * step / 100 for step in range(1, 101)])
    assert told[100:500] == [2.0] * 400
    assert told[749] == pytest.approx(2.0 * 0.05**0.5)
    assert told[999] == pytest.approx(2.0 * 0.05)


def test_constant():
    assert rates(50, decay="constant", warmup=5)[4:] == [2.0] * 46


def test_the_warm_up_in_steps_does_not_depend_on_the_total():
    assert rates(100, warmup=20)[:20] == rates(1000, warmup=20)[:20]
    assert rates(100, warmup=0)[0] == pytest.approx(2.0 * 0.99)


@pytest.mark.parametrize("decay", ["linear", "cosine", "tri_stage", "constant"])
@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_the_shortest_runs_learn_something(decay, total):
    told = rates(total, decay=decay)
    assert all(0 <= rate <= 2.0 for rate in told)
    assert told[0] > 0


def test_steps_in_a_time():
    assert steps_for(30, 0.5) == 3600
    assert steps_for(0.001, 60) == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"peak": 0.0}, "peak is 0.0"),
        ({"warmup": -0.1}, "warmup is -0.1"),
        ({"warmup": 2.5}, "warmup is 2.5"),
        ({"hold": 0.95}, "hold is 0.95"),
        ({"decay": "tri_stage", "final": 0.0}, "final is 0.0"),
        ({"final": 2.0}, "final is 2.0"),
        ({"decay": "steps"}, "decay: invalid enum value"),
    ],
)
def test_wrong_settings_are_named(settings, told):
    with pytest.raises(ConfigError, match=told):
        convert(settings, ScheduleConfig, path="train.schedule")
