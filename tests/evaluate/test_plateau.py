"""Guards the extrapolation over numbers of clusters: right where the curve shows it, in doubt elsewhere."""

import pytest

from sonorant.evaluate.plateau import Point, plateau

CODES = (10, 20, 50, 100, 200, 500)


def curve(values, codes=CODES, *, half=0.01):
    return [Point(code, value, value - half, value + half) for code, value in zip(codes, values, strict=True)]


def saturating(height, rate, codes=CODES):
    return [height * (1 - code**-rate) for code in codes]


def test_a_curve_of_the_assumed_form_gives_its_plateau_and_rate():
    found = plateau(curve(saturating(1.6, 0.6)))
    assert (found.nats, found.rate) == pytest.approx((1.6, 0.6), rel=0.01)
    assert found.low < 1.6 < found.high
    assert found.high - found.low < 0.1
    assert found.doubt is None


def test_the_interval_follows_those_of_the_points():
    narrow, wide = (plateau(curve(saturating(1.6, 0.6), half=half)) for half in (0.01, 0.04))
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_states_that_are_all_found_are_the_plateau():
    found = plateau(curve([0.7, 1.38, 1.39, 1.385, 1.39], (2, 4, 8, 16, 32)))
    assert found.nats == pytest.approx(1.39, rel=0.1)
    assert found.doubt is None


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (saturating(9.0, 0.03), "still rising at K=500"),
        ([0.9, 1.1, 1.2, 1.1, 0.9, 0.6], "it falls beyond K=50"),
        ([-0.02] * 6, "nothing is told"),
    ],
)
def test_what_cannot_be_told_is_said(values, told):
    assert plateau(curve(values)).doubt.startswith(told)


def test_wide_intervals_leave_it_in_doubt():
    assert plateau(curve(saturating(1.6, 0.3), half=0.4)).doubt.startswith("still rising")


def test_two_points_are_no_curve():
    assert plateau(curve([0.0, 1.0, 1.2], (1, 10, 100))) is None
    assert plateau(curve([1.0, 1.1, 1.2], (10, 10, 100))) is None
