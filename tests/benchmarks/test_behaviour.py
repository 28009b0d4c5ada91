"""Guards the experiments on what papers promise: that variants differ in one thing, and the verdicts."""

import msgspec
import numpy as np
import pytest
import soundfile

import behaviour
from contest import figures, noise, stages, verdict_page
from contest.costs import Cost
from contest.entries import Budget, Entry
from contest.experiments import EXPERIMENTS, PAPER_FRAMES, Claim, Experiment
from contest.methods import contestants
from contest.running import run
from contest.small import SPEECH
from contest.verdicts import FAILS, HOLDS, UNSURE, verdict
from sonorant.config import ConfigError, builtins, convert
from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.encoders.build import EncoderConfig, build
from sonorant.evaluate.rows import Row, read_rows
from sonorant.objective import objective_config
from sonorant.recipes import measuring
from sonorant.recipes.features import extract
from sonorant.recipes.settings import differences

BUDGET = Budget(pretraining=1, finetuning=0, processes=1)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda each: each.name)
def test_variants_fit_their_encoders_and_differ_in_their_settings_alone(experiment):
    found = experiment.contestants()
    configs = [each.config(out="o", manifest="m", processes=1, seed=0, steps=9, changes={}) for each in found]
    named = {word.partition("=")[0] for words in experiment.variants.values() for word in words}
    for method, config in zip(found, configs, strict=True):
        assert (method.pool, method.stages) == (experiment.name, experiment.stages)
        objective_config(config.objective).build(build(convert(method.encoder, EncoderConfig)))
        changed = differences(builtins(configs[0]), builtins(config))
        assert len(changed) == (config is not configs[0])
        assert all(any(each.startswith(word) for word in named) for each in changed)
    assert len({each.name for each in found}) == len(found)


def test_claims_are_about_variants_and_figures_that_there_are():
    for experiment in EXPERIMENTS:
        for claim in experiment.claims:
            assert {*claim.more, *claim.less} <= set(experiment.variants)
            assert not set(claim.more) & set(claim.less)
            assert claim.metric in figures.FORMS or claim.metric in experiment.watched
            assert claim.metric != figures.NOISY or "noise" in experiment.stages


def test_lengths_in_the_papers_frames_meet_such_frames():
    for experiment in EXPERIMENTS:
        for words in experiment.variants.values():
            counted = [word for word in words if "length=" in word or "shift=" in word]
            assert not counted or PAPER_FRAMES in words


def test_an_unknown_experiment_is_told(tmp_path):
    with pytest.raises(ConfigError, match="--only: 'apd' is not one of hubert, "):
        behaviour.entries(["apd"], [0], BUDGET, tmp_path, tmp_path)


EXPERIMENT = Experiment(
    name="e",
    method="apc",
    expected="More.",
    paper="P",
    variants={"a": (), "b": (), "c": ()},
    claims=(),
)


def row(variant, value, *, seed=0, half=0.0, metric="m"):
    return Row(
        benchmark="behaviour",
        subject=f"e, {variant}",
        task="",
        metric=metric,
        value=value,
        low=value - half if half else None,
        high=value + half if half else None,
        seed=seed,
    )


@pytest.mark.parametrize(
    ("a", "b", "half", "word"),
    [(0.6, 0.4, 0.1, HOLDS), (0.4, 0.6, 0.1, FAILS), (0.6, 0.4, 0.15, UNSURE), (0.4, 0.6, 0.15, UNSURE)],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(a, b, half, word):
    found = verdict([row("a", a, half=half), row("b", b, half=half)], EXPERIMENT, Claim("m", ("a",), ("b",)))
    assert found.difference == pytest.approx(a - b)
    assert found.high - found.low == pytest.approx(2 * half * 2**0.5)
    assert (found.word, found.seeds) == (word, 1)


def test_the_interval_has_the_ends_that_face_each_other():
    rows = [
        msgspec.structs.replace(row("a", 0.6), low=0.57, high=0.9),
        msgspec.structs.replace(row("b", 0.4), low=0.1, high=0.44),
    ]
    found = verdict(rows, EXPERIMENT, Claim("m", ("a",), ("b",)))
    assert (found.low, found.high) == pytest.approx((0.2 - 0.05, 0.2 + 0.3 * 2**0.5))


def test_seeds_are_compared_one_by_one_and_their_spread_counts():
    rows = [row("a", 1.0, seed=0), row("b", 0.0, seed=0), row("a", 9.0, seed=1), row("b", 7.0, seed=1)]
    rows.append(row("a", 99.0, seed=2))  # whose other variant is not measured yet
    found = verdict(rows, EXPERIMENT, Claim("m", ("a",), ("b",)))
    assert (found.difference, found.seeds, found.word) == (1.5, 2, UNSURE)
    assert found.high - 1.5 == pytest.approx(12.71 * 0.5)  # t with one degree of freedom, times s / sqrt(2)


def test_the_best_of_several_variants_counts_and_all_have_to_be_there():
    rows = [row("a", 0.5), row("b", 0.9)]
    claim = Claim("m", ("a", "b"), ("c",))
    assert verdict(rows, EXPERIMENT, claim) is None
    found = verdict([*rows, row("c", 0.7)], EXPERIMENT, claim)
    assert (found.more, found.less, found.word) == ("b", "c", HOLDS)


def test_the_page_tells_what_the_rows_tell(tmp_path):
    def told(hidden, other):
        rows = [
            Row(benchmark="behaviour", subject=f"hubert, {variant}", task="", metric=figures.PHONES,
                value=value, low=value - 0.01, high=value + 0.01, seed=0, commit="abc", machine="m")
            for variant, value in (("hidden frames", hidden), ("other frames", other))
        ]  # fmt: skip
        budget = [Row(benchmark="behaviour", subject=figures.BUDGET, task="", metric=metric, value=1)
                  for metric in ("pretraining minutes", "processes")]  # fmt: skip
        verdict_page.show([*budget, *rows], tmp_path / "behaviour-day.jsonl")
        lines = (tmp_path / "behaviour-day.md").read_text().splitlines()
        first, *others = (line for line in lines if line.startswith("| hubert | phones"))
        assert not others
        assert "| apc | phones | n = 3 or n = 5 or n = 10 | n = 1 or n = 2 |  | 0 | not measured |" in lines
        return first

    assert told(0.5, 0.4).endswith(
        "| hidden frames | other frames | +10.0% [+8.6%, +11.4%] | 1 | **holds** |"
    )
    drawn = (tmp_path / "behaviour-day.png").read_bytes()
    assert told(0.4, 0.5).endswith("| **does not hold** |")
    assert (tmp_path / "behaviour-day.png").read_bytes() != drawn
    assert told(0.4, 0.405).endswith("| **within the interval** |")


def test_an_experiment_once(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("contest.costs.cost", lambda config: Cost(0.1, 0.1 / config.objective["alpha"]))
    budget, file = Budget(0.01, 0, 1), tmp_path / "behaviour-day.jsonl"
    chosen = behaviour.entries(["hubert"], [3], budget, small, tmp_path / "runs")
    assert run(chosen, file, verdict_page.show) == 0
    kept = {(each.subject, each.metric): each.value for each in read_rows(file) if each.seed == 3}
    for variant in ("hidden frames", "other frames"):
        assert kept[f"hubert, {variant}", "updates"] == 5  # as the first one's cost has it
        assert (f"hubert, {variant}", figures.NATS) in kept
    assert {each.benchmark for each in read_rows(file)} == {"behaviour"}
    assert kept["hubert, hidden frames", figures.LOSS] != kept["hubert, other frames", figures.LOSS]

    monkeypatch.setattr(stages, "STAGES", {})
    assert run(chosen, file, verdict_page.show) == 0  # nothing is repeated


def test_noise_is_as_loud_as_promised_and_the_same_each_time(tmp_path):
    clips = list(read(SPEECH / "manifest.jsonl"))[:3]
    noisy = noise.in_noise(clips, tmp_path / "a")
    again = noise.in_noise(clips, tmp_path / "b")
    for clip, other, repeated in zip(clips, noisy, again, strict=True):
        wave, _ = soundfile.read(other.path)
        assert (other.id, other.text) == (clip.id, clip.text)
        np.testing.assert_array_equal(wave, soundfile.read(repeated.path)[0])
        clean = load(clip, noise.RATE)
        share = (wave @ clean) ** 2 / (wave @ wave) / (clean @ clean)  # of the power that is speech
        assert 10 * np.log10(share / (1 - share)) == pytest.approx(noise.SNR, abs=0.2)
        assert wave @ wave == pytest.approx(clean @ clean, rel=1e-5)


def test_probes_are_fitted_to_clean_speech_and_measured_on_noisy(small, tmp_path, monkeypatch):
    (found,) = contestants(["log-mel stacked"])
    heard, parts = [], []

    def extracted(model, clips, *rest, **options):
        heard.extend(clips)
        return extract(model, clips, *rest, **options)

    def split(*rest):
        parts.append(measuring.parts(*rest))
        return parts[-1]

    monkeypatch.setattr(noise, "extract", extracted)
    monkeypatch.setattr(noise, "parts", split)
    (kept,) = noise.measure_in_noise(Entry(found, 0, small, tmp_path, BUDGET))
    assert (kept.metric, kept.subject) == (figures.NOISY, "log-mel stacked")
    noisy = {clip.id for clip in heard if clip.path.endswith(".wav") and str(tmp_path) in clip.path}
    assert noisy == set(parts[0].test)
    assert {clip.id for clip in heard} == noisy | set(parts[0].train) | set(parts[0].validation)
    assert kept.n == len(noisy)
    assert not list(tmp_path.rglob("*.wav"))
