"""Guards what the report computes: marked errors, smoothed and thinned curves, the order of dimensions."""

import numpy as np
import pytest

from sonorant.evaluate.rows import Row, write_rows
from sonorant.evaluate.wer import word_error_rate
from sonorant.recipes.sections.curves import MOST, _extremes, smooth
from sonorant.recipes.sections.picture import arranged
from sonorant.recipes.sections.tables import results
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


def _rows(codes, gaps):
    return [
        Row(
            benchmark="measure",
            subject=f"features layer_{layer}{more}",
            task=f"label-free information (K={code}, gap {gap} s = 1 x {gap} s)",
            metric="nats",
            value=value,
            low=value - 0.01,
            high=value + 0.01,
            n=9,
        )
        for layer in (0, 1)
        for gap in gaps
        for code in codes
        for more, value in (("", 1.25 + layer), (", shuffled", 0.0))
    ]


def test_points_over_clusters_and_gaps_are_one_section_of_curves(tmp_path) -> None:
    rows = _rows((50, 100, 200), (0.1, 0.2))
    led = "label-free information (K to infinity, gap 0.1 s = 1 x 0.1 s)"
    plain = {"benchmark": "measure", "subject": "features layer_0", "metric": "nats", "value": 1.7}
    write_rows(
        tmp_path / "results.jsonl", [*rows, Row(task=led, **plain), Row(task="labelled information", **plain)]
    )
    found = results(tmp_path)
    assert [each.title for each in found] == [
        "Label-free information over clusters and gaps",
        "Labelled information",
    ]
    body = found[0].body
    charts, tables = body.split("<details>")
    assert charts.count("<svg") == 2 + 3  # a panel for each gap, and one for each number of clusters
    assert charts.count("stroke-dasharray") == 1  # the plateau
    assert "shuffled" not in charts
    assert tables.count("<h3>") == 7
    assert tables.count("shuffled") == 12


def test_a_single_point_stays_a_task(tmp_path) -> None:
    write_rows(tmp_path / "results.jsonl", _rows((100,), (0.1,)))
    (section,) = results(tmp_path)
    assert section.title == "Label-free information (K=100, gap 0.1 s = 1 x 0.1 s)"
