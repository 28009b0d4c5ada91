"""The losses of two views against lightly's, on embeddings that both are given: values and gradients.

What lightly gave is in `tests/fixtures/lightly`, with the script that asked it. Encoders, heads and views are
left out: each objective's own `forward` meets the embeddings where its projected views would be.
"""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.types import Batch, Padded

LIGHTLY = np.load(Path(__file__).parents[1] / "fixtures" / "lightly" / "losses.npz")
VIEWS, QUEUE = torch.from_numpy(LIGHTLY["views"]), torch.from_numpy(LIGHTLY["queue"])
HEADS = ("project", "predict", "expand", "key_project", "target_project")


class Same(nn.Module):
    """A head that changes nothing, and has no gradient where a head would have none."""

    def forward(self, embeddings):
        return embeddings * 1


def given(name, monkeypatch, **settings):
    """An objective's loss of the views, the mean over utterances, and its gradient."""
    module = importlib.import_module(f"sonorant.objectives.{name}")
    views = VIEWS.clone().requires_grad_()
    monkeypatch.setattr(module, "two_views", lambda *_: tuple(views))
    monkeypatch.setattr(module, "embed", lambda _, view: view)
    encoder = build(EncoderConfig(frontend=LogMelConfig(mels=8), context=GRUConfig(dim=8, layers=1)))
    objective = module.Config(**settings).build(encoder)
    for head in HEADS:
        if hasattr(objective, head):
            setattr(objective, head, Same())
    if name == "moco":
        objective.queue.copy_(QUEUE)
    utterances = VIEWS.shape[1]
    inputs = Padded(torch.zeros(utterances, 1), torch.ones(utterances, dtype=torch.int64))
    loss = objective(Batch(inputs, tuple(range(utterances))))
    value = loss.total / loss.count
    value.backward()
    return value.detach(), views.grad


@pytest.mark.parametrize(
    ("name", "settings", "peer", "times", "plus"),
    [
        ("simclr", {"temperature": 0.1}, "ntxent", 1, 0),
        ("moco", {"temperature": 0.2, "queue": len(QUEUE), "dim": VIEWS.shape[2]}, "moco", 1, 0),
        ("byol", {}, "cosine", 2, 4),  # 2 - 2 cos of each view
        ("simsiam", {}, "cosine", 0.5, 0),
        ("barlow_twins", {"dim": VIEWS.shape[2]}, "barlow_twins", 1, 0),
        ("vicreg", {"dim": VIEWS.shape[2]}, "vicreg", 1, 0),
    ],
)
def test_values_and_gradients_are_lightlys(name, settings, peer, times, plus, monkeypatch):
    value, gradient = given(name, monkeypatch, **settings)
    expected = times * torch.from_numpy(LIGHTLY[f"{peer}_value"]) + plus
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    expected = times * torch.from_numpy(LIGHTLY[f"{peer}_gradient"])
    assert expected.abs().max() > 1e-3  # there is something to compare
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
