"""What the tests of whole commands share: the command line in this process, small settings, and two runs."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
import torch
import yaml

from sonorant.cli import main
from sonorant.data.manifest import Clip, read, write

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech" / "manifest.jsonl"


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line of an error."""
        (line,) = self.err.splitlines()
        assert line.startswith("sonorant: ")
        return line

    @property
    def json(self):
        return json.loads(self.out)


def run(*words) -> Done:
    """`sonorant WORDS`, in this process."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return Done(int(end.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def sonorant() -> Callable[..., Done]:
    return run


@pytest.fixture(scope="session", autouse=True)
def lean(tmp_path_factory) -> Iterator[None]:
    """One thread here and in processes that are started, whose results are compared bit for bit; these do
    without TensorBoard, which takes seconds to load."""
    hidden = tmp_path_factory.mktemp("hidden")
    (hidden / "tensorboard.py").write_text("raise ImportError")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(hidden), prepend=os.pathsep)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def speech() -> Path:
    """120 clips, 192 s, in several languages."""
    return SPEECH


@pytest.fixture(scope="session")
def few(place) -> Path:
    """A manifest of 40 clips."""
    path = place / "few.jsonl"
    write(path, read(SPEECH)[::3])
    return path


@pytest.fixture(scope="session")
def clip(few) -> Clip:
    return max(read(few), key=lambda clip: clip.seconds)


@pytest.fixture(scope="session")
def tiny(place, few) -> Path:
    """A pretraining configuration that takes a second."""
    settings = {
        "out": str(place / "unused"),
        "data": {"manifest": str(few), "batch_seconds": 8, "crop_seconds": 2, "workers": 0},
        "encoder": {
            "frontend": {"name": "log_mel", "mels": 20, "stack": 4},
            "context": {"name": "gru", "dim": 16, "layers": 2, "dropout": 0.1},
        },
        "objective": {"name": "apc", "shift": 1},
        "train": {"steps": 6, "log_every": 1, "checkpoint_every": 2, "keep": 1, "schedule": {"peak": 1e-3}},
    }
    path = place / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="session")
def scored(few) -> list[str]:
    """Overrides for a validation loss and a label-free score at each checkpoint."""
    return [
        f"data.validation={few}",
        f"score.manifest={few}",
        "score.information={codes: 8, updates: 20, frames: 2000}",
    ]


@pytest.fixture(scope="session")
def pretrained(place, tiny, scored) -> Path:
    """A finished pretraining run."""
    folder = place / "pretrained"
    assert run("pretrain", tiny, f"out={folder}", *scored, "-q").code == 0
    return folder


@pytest.fixture(scope="session")
def tuning(pretrained, few) -> list[str]:
    """The words of `finetune` but for `out`."""
    small = ["train.minutes=null", "train.steps=6", "train.log_every=1", "objective.freeze_context=2"]
    data = [f"data.manifest={few}", "data.batch_seconds=10", "data.workers=0"]
    return ["finetune", "ctc", f"pretrained={pretrained}", *data, *small]


@pytest.fixture(scope="session")
def finetuned(place, tuning) -> Path:
    """A finished recogniser that knows nothing yet."""
    folder = place / "finetuned"
    assert run(*tuning, f"out={folder}", "-q").code == 0
    return folder
