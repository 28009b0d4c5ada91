"""Guards what the report computes: marked errors, smoothed and thinned curves, the order of dimensions."""

import numpy as np
import pytest

from sonorant.evaluate.wer import word_error_rate
from sonorant.recipes.sections.curves import MOST, _extremes, smooth
from sonorant.recipes.sections.picture import arranged
from sonorant.recipes.sections.transcripts import marked


def test_marks_are_the_errors_that_the_rate_counts() -> None:
    reference, hypothesis = "the cat  sat on\tthe mat", "the bat sat the mat today"
    shown = marked(reference, hypothesis)
    assert shown == "the <mark>bat</mark> sat <del>on</del> the mat <mark>today</mark>"
    errors = shown.count("<mark>") + shown.count("<del>")
    assert word_error_rate([(reference, hypothesis)]).rate == pytest.approx(errors / 6)


@pytest.mark.parametrize("count", [1, 2, 41, 1000])
def test_smoothing_keeps_lines_straight(count) -> None:
    assert smooth([2.0] * count) == pytest.approx([2.0] * count)
    middle = slice(count // 10, count - count // 10)
    ramp = [float(n) for n in range(count)]
    assert smooth(ramp)[middle] == pytest.approx(ramp[middle])


def test_thinning_hides_no_spike() -> None:
    values = [0.0] * 10_000
    values[1234], values[8765] = 9.0, -9.0
    steps, kept = _extremes([float(n) for n in range(10_000)], values)
    assert len(steps) <= MOST
    assert (max(kept), min(kept)) == (9.0, -9.0)
    assert steps == sorted(steps)
    assert steps[kept.index(9.0)] == 1234


def test_dimensions_that_vary_alike_become_neighbours() -> None:
    time = np.linspace(0, 20, 200)
    kinds = [np.sin(time), np.cos(1.7 * time), -np.sin(time)]
    mixed = np.stack([kinds[n % 3] * (n + 1) for n in range(12)] + [np.ones(200)], axis=1)
    result = arranged(mixed)
    moving = result[:, result.std(0) > 0]
    alike = [float(moving[:, n] @ moving[:, n + 1]) / 200 for n in range(11)]
    assert sum(each > 0.99 for each in alike) >= 8  # three groups of four (one may wrap around): few seams
    assert np.isfinite(result).all()
