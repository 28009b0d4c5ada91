"""Guards what torchrun's processes share: memory where all are on one machine."""

import pytest

from sonorant.train import torchrun
from sonorant.train.shared import memory


@pytest.mark.parametrize(("here", "everywhere", "shared"), [("2", "2", True), ("1", "2", False)])
def test_memory_is_shared_on_one_machine_alone(monkeypatch, here, everywhere, shared):
    monkeypatch.setattr(torchrun.dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(torchrun.dist, "destroy_process_group", lambda: None)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", here)
    monkeypatch.setenv("WORLD_SIZE", everywhere)
    with torchrun.joined():
        assert (memory() is not None) == shared
    assert memory() is None
