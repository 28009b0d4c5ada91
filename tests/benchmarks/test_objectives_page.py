"""Guards the page of objectives: what is kept, how it is told, what is missing, and the rank correlation."""

import itertools
import math
from functools import partial

import numpy as np
import pytest

from contest import figures, keeping, page, ranking
from contest.correlation import correlation, spearman
from contest.entries import Budget
from sonorant.evaluate.rows import Row, read_rows

BUDGET = Budget(pretraining=5, finetuning=2, processes=2)
SHOW = partial(page.show, ["apc", "npc", "moco"])


def row(subject, metric, value, *, seed=0, task=""):
    origin = {"benchmark": "objectives", "commit": "abc", "machine": "m"}
    return Row(subject=subject, task=task, metric=metric, value=value, seed=seed, **origin)


def full(subject, nats, phones, rate, *, seed=0, trained=True, told=""):
    """All that makes a contestant complete."""
    found = {page.NATS: nats, page.PHONES: phones, page.CER: rate, **({"updates": 9} if trained else {})}
    rows = [row(subject, metric, value, seed=seed) for metric, value in found.items()]
    rows.append(row(subject, page.HEALTH, float(bool(told)), seed=seed, task=told))
    return [*rows, row(subject, page.KIND, 2.5e6, seed=seed, task="shared: conformer 4 x 192")]


def test_rows_replace_those_of_their_contestant_seed_and_metric_alone():
    old = [row("a", "m", 1), row("a", "n", 2), row("a", "m", 3, seed=1), row("b", "m", 4)]
    found = keeping.merged(old, [row("a", "m", 5, task="another layer")])
    assert [each.value for each in found] == [2, 3, 4, 5]


def test_pieces_make_one_table_and_budgets_do_not_mix(tmp_path):
    file = tmp_path / "objectives-day.jsonl"
    for rows in (full("apc", 0.1, 0.3, 0.8), full("npc", 0.2, 0.4, 0.7), full("apc", 0.15, 0.3, 0.9)):
        keeping.keep(file, rows, BUDGET, SHOW)
    kept = read_rows(file)
    assert len(kept) == 3 + 2 * 6
    assert {each.value for each in kept if each.metric == page.NATS} == {0.2, 0.15}
    assert not list(tmp_path.glob("*.new"))
    assert (tmp_path / "objectives-day.png").stat().st_size > 1000
    other = Budget(pretraining=10, finetuning=2, processes=2)
    with pytest.raises(keeping.BudgetError, match=r"day.jsonl: has 5 pretraining minutes, not 10"):
        keeping.keep(file, full("moco", 0.1, 0.1, 0.1), other, SHOW)
    assert read_rows(file) == kept


def budget_rows():
    return keeping.budget_rows(BUDGET, row("a", "m", 0))


def test_the_page_has_the_best_first_and_tells_what_is_ill():
    rows = [
        *budget_rows(),
        *full("apc", 0.1, 0.3, 0.8, told="constant prediction: since step 20"),
        *full("npc", 0.2, 0.4, 0.7),
        *full("npc", 0.3, 0.4, 0.5, seed=1),
        row("log-mel", page.PHONES, 0.25),
    ]
    text = page.page(rows, ["apc", "npc"], "objectives-day")
    first, _ = text.split("\n## Which score")
    table = [line.split(" | ") for line in first.splitlines() if line.startswith("| ")]
    assert [line[0] for line in table] == ["| ", "| npc", "| apc", "| log-mel"]
    columns = dict(zip(table[0], table[1], strict=True))
    assert columns["CER test"] == "60.0% [50.0%, 70.0%]"
    assert columns["label-free, nats"] == "0.250 [0.200, 0.300]"
    assert columns["phones"] == "40.0%"
    assert (columns["M parameters"], columns["encoder"]) == ("2.50", "shared: conformer 4 x 192")
    assert table[1][-1] == "no sign |"
    assert table[2][-1] == "constant prediction: since step 20 |"
    assert "--minutes 5 --finetune-minutes 2 --processes 2 --seeds 0 1`" in text
    other = page.page(rows, ["apc", "npc"], "objectives-festvox_ru-day")
    assert "--seeds 0 1 --speech festvox_ru --pretrained runs/objectives`" in other
    assert "Whisper" in text


def test_what_is_missing_is_told_by_seed_and_stage():
    rows = [*full("apc", 0.1, 0.3, 0.8), *full("apc", 0.1, 0.3, 0.8, seed=1), row("npc", page.KIND, 1e6)]
    assert page.missing(rows, ["apc"]) == ["- Nothing of the contestants that there are."]
    assert page.missing(rows, ["apc", "npc", "MFCC"]) == [
        "- npc: seed 0 (measure, finetune); seed 1 (pretrain, measure, finetune)",
        "- MFCC: seed 0 (measure); seed 1 (measure)",
    ]


def test_the_correlation_is_over_trained_methods_alone():
    rows = [each for number in range(5) for each in full(f"m{number}", number, number**2, -number)]
    rows += full("untrained", -9, 99, -99, trained=False)
    rates, phones = page.told(rows)
    assert "correlation -1.00 [-1.00, -1.00] over 5 methods" in rates
    assert "correlation 1.00 [1.00, 1.00] over 5 methods" in phones
    assert page.told(rows[:18])[0].endswith("3 methods are too few for a rank correlation")
    assert page.told([])[0].endswith("0 methods are too few for a rank correlation")


def test_every_figure_is_held_against_labels_and_better_agrees_with_better():
    rows = [each for number in range(5) for each in full(f"m{number}", number, number**2, -number)]
    for number, (rank, loss) in enumerate([(5, 4.0), (9, 3.0), (2, 2.0), (4, 1.0), (7, 0.0)]):
        rows += [row(f"m{number}", figures.RANKME, rank), row(f"m{number}", figures.LOSS, loss)]
    for metric in (page.NATS, figures.LOSS):
        for judge in (page.PHONES, page.CER):
            assert ranking.agreement(rows, metric, judge, figures.trained(rows))[0].value == pytest.approx(1)
    found = ranking.agreement(rows, figures.RANKME, page.PHONES, figures.trained(rows))[0]
    assert found.value == pytest.approx(by_hand((5, 9, 2, 4, 7), range(5)))
    assert ranking.agreement(rows, figures.PNMI, page.CER, figures.trained(rows)) == (None, 0)
    lines = page.page([*budget_rows(), *rows], [], "objectives-day").splitlines()
    (line,) = [line for line in lines if line.startswith("| pretraining loss at the end |")]
    assert line.count("1.00 [1.00, 1.00] (of 5)") == 4  # phones and CER, of the trained and of all
    assert line.endswith("| (of 0) | (of 0) | (of 0) |")  # it is no figure of layers


def of_layers(subject, nats, phones):
    """A layer for each number."""
    return [
        row(subject, figures.of_layer(metric), value, task=f"layer_{number}")
        for metric, values in {page.NATS: nats, page.PHONES: phones}.items()
        for number, value in enumerate(values)
    ]


def test_layers_are_held_against_labels_and_what_a_wrong_one_loses_is_told():
    rows = [*of_layers("apc", (1, 3, 2), (0.1, 0.3, 0.2)), *of_layers("npc", (5, 4), (0.2, 0.6))]
    found, layers = ranking.layer_agreement(rows, page.NATS, page.PHONES)
    assert (found.value, layers) == (pytest.approx(by_hand((1, 3, 2, 5, 4), (0.1, 0.3, 0.2, 0.2, 0.6))), 5)
    assert ranking.layer_agreement(rows, figures.RANKME, page.PHONES) == (None, 0)
    rows += of_layers("log-mel", (9,), (0.1,))  # has nothing to choose
    assert ranking.lost(rows, page.NATS) == pytest.approx([0, 0.4])
    assert ranking.lost(rows, figures.RANKME) == []


def test_pairs_of_a_group_are_drawn_together():
    x, y = [1, 2, 3, 4, 5, 6, 7, 8], [2, 1, 4, 3, 8, 7, 5, 6]
    apart, one = correlation(x, y), correlation(x, y, groups=["a"] * 8)
    assert one.low == one.high == one.value == apart.value
    assert apart.low < apart.value < apart.high
    pairs = correlation(x, y, groups=[0, 0, 1, 1, 2, 2, 3, 3])
    assert apart.low != pairs.low


def by_hand(x, y):
    """Pearson's correlation of ranks, ties at the mean of the places that they take."""
    ranks = []
    for values in (x, y):
        ordered = sorted(values)
        places = {value: [n for n, each in enumerate(ordered) if each == value] for value in values}
        ranks.append([sum(places[value]) / len(places[value]) for value in values])
    (mean, other) = (sum(each) / len(each) for each in ranks)
    products = [(a - mean) * (b - other) for a, b in zip(*ranks, strict=True)]
    squares = [
        sum((each - middle) ** 2 for each in side) for side, middle in zip(ranks, (mean, other), strict=True)
    ]
    return sum(products) / math.sqrt(squares[0] * squares[1])


def test_spearman_is_that_of_ranks_with_ties():
    for x, y in itertools.product(
        [(1, 2, 3, 4, 5), (2, 2, 1, 7, 0)], [(5, 3, 3, 3, 9), (0.1, 0.4, 0.2, 5, 6)]
    ):
        assert spearman(x, y) == pytest.approx(by_hand(x, y))
    many = spearman(np.array([[1, 2, 3], [1, 2, 3], [1, 1, 1]]), np.array([[3, 2, 1], [1, 5, 9], [1, 2, 3]]))
    assert many[:2].tolist() == [-1, 1]
    assert np.isnan(many[2])


def test_an_interval_holds_its_value_and_constants_have_none():
    x, y = range(8), (0, 2, 1, 3, 5, 4, 7, 6)
    found = correlation(x, y)
    assert -1 <= found.low < found.value < found.high <= 1
    assert found.n == 8
    assert correlation(x, [1] * 8) is None
