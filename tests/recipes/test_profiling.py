"""Guards `profile`: it takes what trains, writes nothing, and its tables add up."""

import json

import pytest


def test_a_profile_of_pretraining_writes_nothing(tmp_path, sonorant, tiny):
    done = sonorant("profile", tiny, f"out={tmp_path / 'run'}", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    sums = [sum(cost["seconds"] for cost in found[group].values()) for group in ("modules", "kinds")]
    assert sums[0] == pytest.approx(sums[1])
    assert found["audio_seconds"] > 2
    assert 0 < found["rate_share"] < 1
    assert found["modules"]["update"]["seconds"] > 0
    assert {"encoder.frontend", "encoder.projection", "encoder.context"} <= {
        ".".join(name.split(".")[:2]) for name in found["modules"]
    }
    assert not (tmp_path / "run").exists()


def test_a_profile_of_fine_tuning_is_a_table(sonorant, tuning):
    done = sonorant("profile", *tuning[1:])
    assert done.code == 0
    assert "GFLOP/s" in done.out
    assert "encoder.frontend" in done.out
    assert "matrix products" in done.out


def test_a_mistake_is_told_as_the_run_would_tell_it(sonorant, tiny):
    done = sonorant("profile", tiny, "objective.shift=0")
    assert done.code == 2
    assert "objective.shift" in done.line
