"""Guards HuBERT as a run: what its clusters are fitted to, and a second iteration taught by the first."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from sonorant.data.dataset import DataConfig, Dataset
from sonorant.data.manifest import read
from sonorant.recipes.fit import PREPARING, Preparing
from sonorant.train import checkpoint


@pytest.fixture(scope="module")
def words(tiny):
    return ["pretrain", tiny, "objective={name: hubert, codes: [8]}", "train.steps=4", "-q"]


def test_a_second_iteration_learns_from_the_first_and_continues(place, sonorant, words):
    first, second, straight = (place / f"hubert_{name}" for name in ("first", "second", "straight"))
    assert sonorant(*words, f"out={first}").code == 0
    teacher = (
        f"objective={{name: hubert, codes: [6, 8], teacher: {first}, teacher_layer: 1, fit_hours: 0.01}}"
    )
    assert sonorant(*words, f"out={straight}", teacher).code == 0
    assert sonorant(*words, f"out={second}", teacher, "train.keep=9").code == 0
    given = load_file(checkpoint.latest(first) / "encoder.safetensors")
    kept = load_file(checkpoint.latest(straight) / "objective.safetensors")
    for name, value in given.items():
        assert (kept[f"labeller.source.{name}"] == value).all(), name
    assert kept["labeller.centroids"].shape == (14, 16)
    assert kept["labeller.centroids"].std(0).min() > 0

    # what an interrupted run leaves; the teacher's weights now come from the checkpoint alone
    for folder in checkpoint.checkpoints(second)[1:]:
        folder.rename(place / f"lost_{folder.name}")
    broken = place / "hubert_first" / checkpoint.latest(first).name / "encoder.safetensors"
    other = place / "lost_step_0000004" / "encoder.safetensors"
    broken.write_bytes(other.read_bytes())
    assert sonorant(*words, f"out={second}", teacher, "train.keep=9").code == 0
    for part in ("encoder", "objective"):
        values = [load_file(checkpoint.latest(run) / f"{part}.safetensors") for run in (straight, second)]
        assert all((values[0][name] == values[1][name]).all() for name in values[0])


def test_a_teacher_that_is_not_there_is_told_in_a_line(place, sonorant, words):
    none = f"objective={{name: hubert, teacher: {place}/nowhere, teacher_layer: 1}}"
    done = sonorant(*words, f"out={place}/hubert_none", none)
    assert (done.code, done.out) != (0, "")
    assert "nowhere: no checkpoint here" in done.line


def test_what_is_fitted_before_training_sees_the_hours_it_asks_for_each_time_anew(speech):
    dataset = Dataset(read(speech), DataConfig(manifest="", batch_seconds=8, workers=0))
    for hours in (None, 0.01, 1.0):
        objective = SimpleNamespace(prepare_hours=hours, parameters=lambda: iter([torch.zeros(1)]))
        batches = Preparing(SimpleNamespace(objective=objective, dataset=dataset, seed=0))
        seen = [int(batch.inputs.lengths.sum()) / 16000 for batch in batches]
        assert [int(batch.inputs.lengths.sum()) / 16000 for batch in batches] == seen
        if hours is None:
            assert len(seen) == PREPARING
        elif hours == 1.0:
            assert sum(seen) == pytest.approx(dataset.seconds.sum(), rel=1e-3)  # one epoch and no more
        else:
            assert sum(seen) >= 36 > sum(seen[:-1])
