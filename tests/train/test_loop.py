"""Guards the loop: how a step is cut into batches changes nothing, bad steps are told, runs repeat."""

import math
from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from training_stub import Denoise, Run, batch, batches, config, objective

from sonorant.config import ConfigError, convert
from sonorant.train.loop import (
    PATIENCE,
    DivergedError,
    Epochs,
    Step,
    TrainConfig,
    autocast_type,
    train,
)
from sonorant.train.optim import OptimizerConfig, adamw
from sonorant.train.timing import measure_step_seconds
from sonorant.types import Batch, Loss


def one_step(cuts: list[list[int]]) -> tuple[Step, dict[str, torch.Tensor]]:
    model = objective(dropout=0.0)
    settings = config(accumulate=len(cuts))
    steps = train(model, adamw(model, settings.optimizer), map(batch, cuts), settings, total=9)
    return next(steps), {name: each.detach() for name, each in model.named_parameters()}


@pytest.mark.parametrize(
    "cuts",
    [
        [[0, 1, 2, 3], [4, 5, 6, 7]],
        [[7], [0, 1, 2, 3, 4, 5, 6]],
        [[3, 1], [0, 2], [4, 7], [5, 6]],
    ],
)
def test_how_a_step_is_cut_into_batches_changes_nothing(cuts):
    whole, expected = one_step([[0, 1, 2, 3, 4, 5, 6, 7]])
    step, parameters = one_step(cuts)
    assert step.count == whole.count
    assert step.loss == pytest.approx(whole.loss, rel=1e-5)
    assert step.gradient_norm == pytest.approx(whole.gradient_norm, rel=1e-4)
    assert step.audio_seconds == pytest.approx(whole.audio_seconds)
    for name, value in parameters.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)


def test_the_gradient_is_that_of_the_mean_loss():
    model = objective(dropout=0.0)
    loss = model(batch([0, 1, 2]))
    (loss.total / loss.count).backward()
    norm = torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None]).norm()
    step, _ = one_step([[0], [1, 2]])
    assert step.gradient_norm == pytest.approx(float(norm), rel=1e-4)
    assert step.loss == pytest.approx(float(loss.total.detach() / loss.count), rel=1e-5)


def test_metrics_are_means_weighted_by_targets():
    model = objective(dropout=0.0)
    with torch.no_grad():
        losses = [model(batch(indices)) for indices in ([0], [1, 2])]
    mean = sum(float(loss.metrics["size"]) * int(loss.count) for loss in losses)
    mean /= sum(int(loss.count) for loss in losses)
    step, _ = one_step([[0], [1, 2]])
    assert step.metrics["size"] == pytest.approx(mean, rel=1e-5)


def test_training_is_repeatable_whatever_the_generators_stood_at():
    first = Run(config())
    told = [step.loss for step in first.train(0, 9)]
    second = Run(config())
    torch.manual_seed(12345)
    assert [step.loss for step in second.train(0, 9)] == told
    assert told[-1] < told[0]


class Spoilt(Denoise):
    """Without targets, or with a gradient that is not finite, on chosen batches."""

    def __init__(self, bad: set[int], kind: str) -> None:
        super().__init__()
        self.bad, self.kind, self.seen = bad, kind, 0

    def forward(self, batch: Batch) -> Loss:
        self.seen += 1
        if self.seen not in self.bad:
            return super().forward(batch)
        if self.kind == "empty":
            return Loss(torch.zeros(()), torch.tensor(0), {"size": torch.tensor(math.nan)})
        loss = super().forward(batch)
        return Loss(loss.total * math.inf, loss.count, loss.metrics)


@pytest.mark.parametrize("kind", ["empty", "infinite"])
def test_an_unusable_step_changes_nothing_and_is_told(kind):
    model = Spoilt({2}, kind)
    steps = train(model, adamw(model, config().optimizer), Epochs(batches), config(), total=9)
    next(steps)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step = next(steps)
    assert step.skipped
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not next(steps).skipped
    assert int(model.updates) == 2


@pytest.mark.parametrize(("kind", "cause"), [("empty", "no batch had a target"), ("infinite", "not finite")])
def test_many_unusable_steps_in_a_row_are_an_error(kind, cause):
    model = Spoilt(set(range(3, 100)), kind)
    steps = train(model, adamw(model, config().optimizer), Epochs(batches), config(), total=99)
    assert len(list(islice(steps, PATIENCE + 1))) == PATIENCE + 1
    with pytest.raises(DivergedError, match=cause):
        next(steps)


def test_a_parameter_that_nothing_used_is_left_alone():
    run = Run(config())
    run.train(0, 3)
    assert torch.equal(run.objective.idle.detach(), torch.ones(3, 3))


def test_epochs_tell_where_the_next_batch_stands():
    epochs = Epochs(batches)
    taken = [next(epochs).seeds for _ in range(7)]
    assert (epochs.epoch, epochs.batch) == (1, 2)
    again = Epochs(batches, 1, 1)
    assert next(again).seeds == taken[6]


def test_an_epoch_without_batches_is_an_error():
    def none(epoch: int, start: int) -> Iterator[Batch]:
        return iter(())

    with pytest.raises(ValueError, match="no batch"):
        next(Epochs(none))


def test_batches_that_end_are_an_error():
    model = objective()
    steps = train(model, adamw(model, config().optimizer), batches(0, 4), config(), total=9)
    next(steps)
    with pytest.raises(ValueError, match="end at step 2 of 9"):
        next(steps)


def test_measuring_leaves_no_trace():
    model = objective()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    settings = config()
    seconds = measure_step_seconds(
        model, lambda module: adamw(module, settings.optimizer), Epochs(batches), settings, steps=4
    )
    assert 0 < seconds < 10
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(each.grad is None for each in model.parameters())


def test_a_step_takes_what_the_clock_says_without_the_first_ones():
    model, settings = objective(), config()
    times = iter([0.0, 90.0, 180.0, 270.0, 272.0, 274.0, 279.0])  # set-up thrice, then 2, 2 and 5 seconds
    seconds = measure_step_seconds(
        model,
        lambda module: adamw(module, settings.optimizer),
        Epochs(batches),
        settings,
        steps=6,
        clock=lambda: next(times),
    )
    assert seconds == 2


def test_bfloat16_stays_near_float32():
    told = {}
    for precision in ("fp32", "bf16"):
        run = Run(config(precision=precision))
        told[precision] = [step.loss for step in run.train(0, 5)]
        assert all(each.dtype == torch.float32 for each in run.objective.parameters())
    assert told["bf16"] == pytest.approx(told["fp32"], rel=0.05)
    assert told["bf16"] != told["fp32"]


@pytest.mark.parametrize("tiles", [False, True])
def test_precision_follows_the_processor(tiles, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    cpu = torch.device("cpu")
    assert autocast_type("fp32", cpu) == torch.float32
    assert autocast_type("bf16", cpu) == torch.bfloat16
    assert autocast_type("auto", cpu) == (torch.bfloat16 if tiles else torch.float32)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "give either steps or minutes"),
        ({"steps": 5, "minutes": 1.0}, "give either steps or minutes"),
        ({"steps": 5, "accumulate": 0}, "accumulate is 0"),
        ({"steps": 5, "ema": 1.5}, "ema is 1.5"),
        ({"steps": 5, "optimizer": {"clip": 0.0}}, "clip is 0.0"),
    ],
)
def test_wrong_settings_are_named(settings, told):
    with pytest.raises(ConfigError, match=told):
        convert(settings, TrainConfig, path="train")


def test_clipping_bounds_the_update_and_not_the_reported_norm():
    free, tight = Run(config()), Run(config(optimizer=OptimizerConfig(clip=1e-3)))
    unclipped, clipped = free.train(0, 1)[0], tight.train(0, 1)[0]
    assert clipped.gradient_norm == unclipped.gradient_norm
    moments = [values["exp_avg"] for values in tight.optimizer.state.values()]
    norm = torch.cat([each.flatten() for each in moments]).norm() / (1 - 0.9)
    assert float(norm) == pytest.approx(1e-3, rel=1e-2)
