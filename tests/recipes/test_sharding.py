"""Guards networks in slices: they train as whole ones do, and their checkpoints are those of whole ones."""

import shutil
from functools import partial
from pathlib import Path

import pytest
from safetensors.torch import load_file

from sonorant.config import ConfigError, convert, load
from sonorant.encoders.build import build
from sonorant.objective import objective_config
from sonorant.recipes.pretrain import pretrain
from sonorant.recipes.settings import PretrainConfig
from sonorant.train import distributed
from sonorant.train.log import read_metrics
from sonorant.train.processes import together
from sonorant.train.sharding import shard

FIRST, LAST = "step_0000002", "step_0000004"


def config(tiny: Path, few: Path, out: Path, *, sliced: bool) -> PretrainConfig:
    words = [
        "encoder.context={name: conformer, dim: 16, layers: 2, heads: 2, kernel: 5}",
        "objective={name: best_rq, codes: 8}",
        "train.steps=4",
        "train.accumulate=2",
        "train.keep=9",
        "train.ema=0.9",
        "train.precision=fp32",
        f"data.validation={few}",
        f"train.shard={str(sliced).lower()}",
        f"out={out}",
    ]
    return convert(load(tiny, words), PretrainConfig)


def runs(tiny: Path, few: Path, folder: Path) -> None:
    """What each of two processes does: whole and sliced runs, and each of them continued as the other."""

    def train(name: str, *, sliced: bool, begun_as: str | None = None) -> None:
        if begun_as is not None:
            distributed.first(partial(begin, folder / begun_as, folder / name))
        pretrain(config(tiny, few, folder / name, sliced=sliced), quiet=True)

    train("whole", sliced=False)
    train("sliced", sliced=True)
    train("sliced-sliced", sliced=True, begun_as="sliced")
    train("whole-sliced", sliced=True, begun_as="whole")
    train("sliced-whole", sliced=False, begun_as="sliced")


def begin(run: Path, copy: Path) -> None:
    shutil.copytree(run, copy)
    shutil.rmtree(copy / LAST)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny, few) -> Path:
    folder = tmp_path_factory.mktemp("sharding")
    work = partial(runs, tiny, few, folder)
    with together(2, work):
        work()
    return folder


@pytest.mark.parametrize("name", ["sliced", "sliced-sliced", "whole-sliced", "sliced-whole"])
def test_slices_train_as_a_whole_does(folder, name):
    rows, expected = (read_metrics(folder / each / "metrics.jsonl") for each in (name, "whole"))
    assert [row["step"] for row in rows] == [row["step"] for row in expected] == [1, 2, 2, 3, 4, 4]
    for row, reference in zip(rows, expected, strict=True):
        assert row.keys() == reference.keys()
        for key in ("loss", "gradient_norm", "validation_loss"):
            if key in row:
                assert row[key] == pytest.approx(reference[key], rel=1e-6)
    for part in ("encoder", "objective", "optimizer", "average"):
        found, whole = (load_file(folder / each / LAST / f"{part}.safetensors") for each in (name, "whole"))
        assert {key: value.shape for key, value in found.items()} == {
            key: value.shape for key, value in whole.items()
        }


def test_slices_continue_to_the_same_bits(folder):
    for file in (folder / "sliced" / LAST).glob("*.safetensors"):
        assert file.read_bytes() == (folder / "sliced-sliced" / LAST / file.name).read_bytes()


def test_what_cannot_be_sliced_is_refused(tiny, few, tmp_path):
    settings = config(tiny, few, tmp_path, sliced=True)
    method = objective_config(settings.objective)
    recurrent = load(tiny, ["encoder.context={name: gru, dim: 16, layers: 1}"])["encoder"]
    encoder = build(convert(recurrent, type(settings.encoder)))
    with pytest.raises(ConfigError, match=r"train.shard: encoder.context has no blocks"):
        shard(method.build(encoder))
    with pytest.raises(ConfigError, match=r"train.shard: one process alone"):
        shard(method.build(build(settings.encoder)))
    with pytest.raises(ConfigError, match="shard needs a length in steps"):
        convert(load(tiny, ["train.shard=true", "train.steps=null", "train.minutes=1"]), PretrainConfig)
