"""Guards the comparison with peers: what is tried, what is dropped, what is kept of a day's results."""

import argparse
import json
from contextlib import contextmanager
from dataclasses import replace

import pytest

import comparisons
import speed
import turns
from sonorant.recipes.measuring import Measurer
from turns import SideError, fastest, set_up, ways

MEASURER = Measurer("speed", commit="abc", machine="m")
RESULT = {
    "work": "hubert", "size": "base", "precision": "bf16", "peer": "transformers",
    "ratio": 1.5, "low": 1.4, "high": 1.6, "rate_share": 0.25,
    "seconds": 2.0, "peer_seconds": 3.0, "megabytes": 100.0, "peer_megabytes": 200.0,
    "parameters": 94_000_000, "peer_parameters": 95_000_000,
    "way": "bf16, 1 x 2 threads", "peer_way": "fp32, 1 x 2 threads", "rounds": 9,
}  # fmt: skip


class Fake:
    """A side whose steps take given seconds: the first to warm up, then each in turn."""

    def __init__(self, seconds, name="fake", *, parameters=10, value=0.0):
        self.left, self.seconds, self.name = list(seconds), [], name
        self.parameters, self.operations, self.value, self.megabytes = parameters, 4e9, value, 1.0

    def told(self):
        return {"parameters": self.parameters, "operations": self.operations}

    def step(self):
        self.seconds.append(self.left.pop(0))
        return self.seconds[-1]


def fakes(monkeypatch, module, make):
    """Fakes in place of sides; they are listed as they are started."""
    made = []

    @contextmanager
    def started(name, task, *, environment=None):
        made.append(make(name, task))
        yield made[-1]

    monkeypatch.setattr(module, "started", started)
    return made


def test_ways_that_are_slow_as_a_rule_come_last(monkeypatch):
    monkeypatch.setattr(turns.os, "cpu_count", lambda: 2)
    found = ways(precisions=["bf16", "fp32"], quick=False, several=True)
    shapes = [(each["threads"], each["processes"]) for each in found]
    assert shapes == [(2, 1), (2, 1), (1, 2), (1, 2), (1, 1), (1, 1)]
    assert len(ways(precisions=["bf16"], quick=True, several=True)) == 1
    monkeypatch.setattr(turns.os, "cpu_count", lambda: 1)
    assert len(ways(precisions=["bf16"], quick=False, several=True)) == 1


def test_the_fastest_way_wins_by_its_better_step_and_slow_ones_get_no_second(monkeypatch):
    times = {"first": [9, 2.0, 1.9], "slow": [0.1, 3.1, 0.1], "late": [9, 2.8, 1.0], "near": [9, 1.4, 1.2]}
    made = fakes(monkeypatch, turns, lambda _, task: Fake(times[task["precision"]]))
    found = [{"precision": each} for each in times]
    assert fastest("ours", {"work": "w"}, found) == {"precision": "late"}
    assert [len(each.seconds) for each in made] == [2, 1, 2, 2]


def test_one_way_alone_is_not_tried(monkeypatch):
    made = fakes(monkeypatch, turns, lambda *_: Fake([]))
    assert fastest("ours", {}, [{"precision": "bf16"}]) == {"precision": "bf16"}
    assert not made


def test_first_steps_are_taken_and_not_counted():
    sides = [Fake([5, 4, 1]), Fake([7, 6, 2])]
    set_up(sides)
    assert [each.seconds for each in sides] == [[], []]
    assert [each.step() for each in sides] == [1, 2]


def compared(monkeypatch, *, parameters=10):
    def make(name, task):
        if task["work"] == "machine":
            return Fake([9, 1, 1, 1], value=8.0)
        return Fake([9, 2, 1, 3] if name == "ours" else [9, 6, 3, 9], name, parameters=parameters[name])

    fakes(monkeypatch, speed, make)
    task = {"size": "tiny", "audio": "", "codes": 2}
    return speed.compare("hubert", "transformers", task, rounds=3, quick=True)


def test_a_comparison_has_what_is_promised(monkeypatch):
    result = compared(monkeypatch, parameters={"ours": 100, "transformers": 109})
    promised = {"work": "hubert", "size": "tiny", "precision": "bf16", "peer": "transformers"}
    assert {key: result[key] for key in promised} == promised
    assert result["ratio"] == 3.0  # medians 6 and 2
    assert result["low"] <= 3.0 <= result["high"]
    assert result["rate_share"] == 0.25  # 4 GFLOP in 2 s at 8 GFLOP/s
    json.dumps(result, allow_nan=False)


def test_sides_of_different_sizes_are_not_compared(monkeypatch):
    with pytest.raises(SideError, match=r"111 parameters .* 100.*10%"):
        compared(monkeypatch, parameters={"ours": 100, "transformers": 111})


def test_a_side_that_ends_tells_its_last_words(monkeypatch, tmp_path):
    (tmp_path / "ours.py").write_text("import sys; print('{\"no', file=sys.stderr); sys.exit('out of luck')")
    monkeypatch.setattr(turns, "SIDES", tmp_path)
    task = {"work": "w", "size": "tiny", "precision": "bf16", "threads": 1, "processes": 1}
    with (
        turns.started("ours", task) as side,
        pytest.raises(SideError, match=r"ours, w tiny, .*: out of luck"),
    ):
        set_up([side])


def test_pieces_of_a_day_are_put_together(tmp_path):
    file = tmp_path / "speed-day.jsonl"
    first, other = RESULT, {**RESULT, "peer": "faiss", "work": "kmeans", "precision": "fp32", "size": "tiny"}
    again = {**RESULT, "ratio": 2.5, "low": 2.4, "high": 2.6}
    for result in (first, other, again):
        comparisons.keep(file, comparisons.rows(result, MEASURER), about="about")
    kept = comparisons.read_rows(file)
    assert len(kept) == 16
    assert {row.value for row in kept if row.metric == "ratio"} == {1.5, 2.5}
    assert not list(tmp_path.glob("*.new"))
    table = [line for line in (tmp_path / "speed-day.md").read_text().splitlines() if line.startswith("|")]
    rest = "2 | 3 | bf16, 1 x 2 threads | fp32, 1 x 2 threads | 25% | 100 | 200 | 94.00 | 95.00 | 9 | abc |"
    assert table[2:] == [
        f"| hubert | base | transformers | **2.50** [2.40, 2.60] | {rest}",
        f"| kmeans | tiny | faiss | **1.50** [1.40, 1.60] | {rest}",
    ]


def test_other_precisions_sizes_and_peers_stay_and_other_commits_are_named(tmp_path):
    file = tmp_path / "speed-day.jsonl"
    for key, value in {"work": "ctc", "size": "tiny", "precision": "fp32", "peer": "speechbrain"}.items():
        comparisons.keep(file, comparisons.rows({**RESULT, key: value}, MEASURER), about="")
    later = replace(MEASURER, commit="def")
    comparisons.keep(file, comparisons.rows(RESULT, later), about="")
    assert len(comparisons.read_rows(file)) == 5 * 8
    page = (tmp_path / "speed-day.md").read_text()
    assert page.count("| abc |") == 4
    assert page.count("| def |") == 1


def test_the_results_of_the_repository_make_a_page():
    for file in speed.RESULTS.glob("speed-*.jsonl"):
        found = comparisons.read_rows(file)
        page = comparisons.page(found, title=file.stem, about=speed.ABOUT)
        assert page.count("**") == 2 * len({row.task for row in found})


@pytest.mark.parametrize("work", speed.WORKS)
def test_each_peer_of_a_work_has_an_environment_and_a_side(work):
    for peer in speed.WORKS[work]:
        assert (turns.SIDES / f"peer_{speed.ENVIRONMENTS[peer]}.py").exists()


def test_what_is_asked_for_is_chosen(monkeypatch, capsys):
    monkeypatch.setattr(speed, "installed", lambda name: name != "s3prl")

    def asked(**options):
        values = {"quick": False, "works": None, "peers": None, "sizes": ["tiny", "base"], **options}
        return list(speed.chosen(argparse.Namespace(**values)))

    assert asked(quick=True) == [("wav2vec2", "tiny", "transformers")]
    assert asked(works=["ntxent", "apc"]) == [("ntxent", "tiny", "lightly")]
    assert "apc: s3prl is not installed: make peers" in capsys.readouterr().err
    assert asked(works=["ctc"], sizes=["base"]) == [("ctc", "base", "transformers")]
