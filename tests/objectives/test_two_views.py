"""Guards what the methods with two views share, and slow networks, and the queue."""

from functools import cache
from pathlib import Path

import pytest
import torch

from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.encoders.two_views import embed, two_views
from sonorant.nn.embeddings import accuracy, alignment, effective_rank, spread, uniformity
from sonorant.nn.momentum import cosine_momentum
from sonorant.nn.views import ViewConfig
from sonorant.objective import objective_config
from sonorant.types import Batch, Padded, pad

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech" / "manifest.jsonl"
HEADS = {
    "simclr": {"hidden": 12, "dim": 5},
    "vicreg": {"dim": 6},
    "barlow_twins": {"dim": 6},
    "byol": {"hidden": 12, "dim": 5, "momentum": 0.9, "momentum_steps": 10},
    "moco": {"hidden": 12, "dim": 5, "queue": 6, "momentum": 0.9},
    "simsiam": {"dim": 6, "bottleneck": 3},
}


@cache
def waves():
    return [
        torch.from_numpy(load(clip, 16000))[: 9000 + 700 * row] for row, clip in enumerate(read(SPEECH)[:4])
    ]


def batch(*rows):
    return Batch(pad([waves()[row] for row in rows]), rows)


def encoder():
    torch.manual_seed(0)
    config = EncoderConfig(frontend=LogMelConfig(mels=8, stack=2), context=GRUConfig(dim=8, layers=1))
    return build(config)


def objective(name):
    return objective_config({"name": name, **HEADS[name]}).build(encoder())


def test_a_view_owes_nothing_to_padding_and_neighbours():
    frontend, config = encoder().frontend, ViewConfig()
    together = two_views(batch(0, 1, 2), config, frontend)
    noisy = torch.cat([waves()[1], torch.ones(5000)])[None]
    alone = two_views(Batch(Padded(noisy, torch.tensor([len(waves()[1])])), (1,)), config, frontend)
    for one, all_ in zip(alone, together, strict=True):
        length, frames = int(one.waves.lengths), one.hidden.shape[1]
        assert int(all_.waves.lengths[1]) == length
        assert torch.equal(all_.waves.values[1, :length], one.waves.values[0])
        assert torch.equal(all_.hidden[1, :frames], one.hidden[0])
    first, second = (view.waves.values[0, :2000] for view in alone)
    assert not torch.allclose(first, second, atol=1e-3)


def test_stacked_frames_hide_the_same_bands_and_hidden_values_do_not_matter():
    model, config = encoder(), ViewConfig(time_masks=0, band_masks=1, band_share=0.9)
    hidden = torch.cat([view.hidden for view in two_views(batch(0, 1, 2, 3), config, model.frontend)])
    assert hidden.any()
    assert torch.equal(hidden[..., :8], hidden[..., 8:])
    view = two_views(batch(0), ViewConfig(time_masks=1, time_share=1.0), model.frontend)[0]
    assert view.hidden.all(2).any()
    plain = type(view)(view.waves, torch.zeros_like(view.hidden))
    assert not torch.allclose(embed(model, view), embed(model, plain))


def test_an_embedding_is_the_mean_over_real_frames():
    model = encoder()
    view = two_views(batch(0, 3), ViewConfig(time_masks=0, band_masks=0), model.frontend)[0]
    hidden = model(view.waves).last
    for row, length in enumerate(hidden.lengths.tolist()):
        mean = hidden.values[row, :length].mean(0)
        torch.testing.assert_close(embed(model, view)[row], mean)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "moco"])
def test_an_utterance_alone_has_nothing_to_be_held_against(name):
    loss = objective(name)(batch(2))
    assert loss.count == 0
    assert loss.total == 0


@pytest.mark.parametrize("name", HEADS)
def test_looking_at_held_out_speech_changes_nothing(name):
    model = objective(name).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        loss = model(batch(0, 1, 2, 3))
    assert torch.isfinite(loss.total)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert name != "moco" or len(model.waiting) == 0


def test_moco_queues_every_key_of_a_step_behind_the_older_ones_and_drops_the_oldest():
    model = objective("moco")
    start = model.queue.clone()
    assert torch.allclose(start.norm(dim=1), torch.ones(6))

    def step(*batches):
        keys = []
        for each in batches:
            model(each)
            view = two_views(each, model.config.views, model.encoder.frontend)[1]
            keys.append(
                torch.nn.functional.normalize(model.key_project(embed(model.key_encoder, view)), dim=1)
            )
        model.after_step(1)
        return torch.cat(keys)

    one = step(batch(0, 1), batch(2))
    torch.testing.assert_close(model.queue, torch.cat([one, start[3:]]))
    two = step(batch(0, 1, 2, 3))
    torch.testing.assert_close(model.queue, torch.cat([two[3:], one[1:], two[:3]]))
    assert not model.queue.requires_grad
    assert int(model.oldest) == 1


@pytest.mark.parametrize(
    ("name", "slow", "momentum"),
    [
        ("moco", ("key_encoder", "key_project"), 0.9),
        ("byol", ("target_encoder", "target_project"), 0.95),  # at step 5 of 10
    ],
)
def test_the_slow_network_follows_by_its_momentum_and_by_nothing_else(name, slow, momentum):
    model = objective(name)
    model(batch(0, 1, 2)).total.backward()
    pairs = list(zip(slow, ("encoder", "project"), strict=True))
    before = {}
    for follower, leader in pairs:
        for key, weight in getattr(model, follower).named_parameters():
            assert weight.grad is None
            before[follower, key] = weight.clone()
        with torch.no_grad():
            for weight in getattr(model, leader).parameters():
                weight.add_(torch.randn_like(weight))
    model.after_step(5)
    for follower, leader in pairs:
        fast = dict(getattr(model, leader).named_parameters())
        for key, weight in getattr(model, follower).named_parameters():
            wanted = momentum * before[follower, key] + (1 - momentum) * fast[key]
            torch.testing.assert_close(weight, wanted.detach(), rtol=1e-4, atol=1e-5)


def test_the_momentum_rises_along_half_a_cosine():
    values = [cosine_momentum(step, 100, 0.99) for step in (0, 25, 50, 100, 500)]
    assert values == pytest.approx([0.99, 1 - 0.01 * (0.5**0.5 + 1) / 2, 0.995, 1, 1])


def test_moco_of_the_first_version_has_a_linear_head():
    config = objective_config({"name": "moco", "head": "linear", "temperature": 0.07, "queue": 4})
    assert [type(each).__name__ for each in config.build(encoder()).project] == ["Linear"]


def test_the_figures_of_health_know_a_collapse():
    torch.manual_seed(0)
    anywhere, same = torch.randn(400, 32), torch.ones(400, 32)
    assert float(spread(anywhere)) == pytest.approx(1, abs=0.02)
    assert float(spread(same)) == pytest.approx(0, abs=1e-6)
    line = torch.randn(400, 1) * torch.randn(32)
    assert float(effective_rank(line)) == pytest.approx(1, abs=1e-3)
    assert 31 < float(effective_rank(anywhere)) <= 32
    corners = torch.eye(8)
    assert float(effective_rank(corners)) == pytest.approx(7, abs=1e-3)  # one is lost with the mean
    assert float(uniformity(corners)) == pytest.approx(-4, abs=1e-5)
    assert float(uniformity(same)) == pytest.approx(0, abs=1e-5)
    assert float(alignment(corners, 3 * corners)) == pytest.approx(0, abs=1e-6)
    assert float(alignment(corners, -corners)) == pytest.approx(4, abs=1e-5)
    assert float(accuracy(corners, corners)) == 1
    assert float(accuracy(corners, corners[[1, 0, 2, 3, 4, 5, 6, 7]])) == 0.75
    assert float(accuracy(same, same)) == 0
