"""Guards AdamW: what it computes, what it does not decay, and that its state comes back under its names."""

import math

import pytest
import torch
from torch import nn
from training_stub import Run, batch, config, objective

from sonorant.config import convert
from sonorant.encoders.build import EncoderConfig, build
from sonorant.objectives.temporal_gap import Config as TemporalGap
from sonorant.train.loop import train
from sonorant.train.optim import OptimizerConfig, adamw, named_state, restore_state
from sonorant.train.schedule import ScheduleConfig


def test_it_is_adamw():
    """Against the update written out, for one weight matrix and one bias, in double precision."""
    torch.manual_seed(0)
    module = nn.Linear(3, 2).double()
    settings = OptimizerConfig(weight_decay=0.1, betas=(0.8, 0.9), eps=1e-3)
    optimizer = adamw(module, settings)
    expected = {name: each.detach().clone() for name, each in module.named_parameters()}
    first = {name: torch.zeros_like(each) for name, each in expected.items()}
    second = {name: torch.zeros_like(each) for name, each in expected.items()}
    for step in range(1, 4):
        for name, parameter in module.named_parameters():
            parameter.grad = torch.randn_like(parameter)
            first[name] = 0.8 * first[name] + 0.2 * parameter.grad
            second[name] = 0.9 * second[name] + 0.1 * parameter.grad**2
            root = (second[name] / (1 - 0.9**step)).sqrt() + 1e-3
            decay = 0.1 if name == "weight" else 0.0
            expected[name] = expected[name] * (1 - 0.05 * decay) - 0.05 * first[name] / (1 - 0.8**step) / root
        for group in optimizer.param_groups:
            group["lr"] = 0.05
        optimizer.step()
        for name, parameter in module.named_parameters():
            torch.testing.assert_close(parameter.detach(), expected[name])


def test_biases_norms_and_gains_are_not_decayed():
    convolution = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 4, 3), dim=2)
    module = nn.ModuleDict({"linear": nn.Linear(4, 4), "norm": nn.LayerNorm(4), "position": convolution})
    module["linear"].register_parameter("mask", nn.Parameter(torch.zeros(4)))
    module.register_parameter("frozen", nn.Parameter(torch.zeros(2, 2), requires_grad=False))
    optimizer = adamw(module, OptimizerConfig(weight_decay=0.5))
    names = {id(each): name for name, each in module.named_parameters()}
    decayed = {
        names[id(each)]
        for group in optimizer.param_groups
        for each in group["params"]
        if group["weight_decay"]
    }
    others = {
        names[id(each)]
        for group in optimizer.param_groups
        for each in group["params"]
        if not group["weight_decay"]
    }
    assert decayed == {"linear.weight", "position.parametrizations.weight.original1"}
    assert others == {
        "linear.bias",
        "linear.mask",
        "norm.weight",
        "norm.bias",
        "position.bias",
        "position.parametrizations.weight.original0",
    }


CONTEXTS = {
    "post": {"name": "transformer", "norm": "post", "heads": 2, "feedforward": 16, "position_groups": 2},
    "pre": {"name": "transformer", "norm": "pre", "heads": 2, "feedforward": 16, "position_groups": 2},
    "conformer": {"name": "conformer", "heads": 2, "kernel": 3},
    "gru": {"name": "gru"},
    "qrnn": {"name": "qrnn", "cells": 8},
    "masked_convolutions": {"name": "masked_convolutions", "kernel": 11, "mask": 3},
}


def deep(context):
    torch.manual_seed(0)
    settings = {
        "frontend": {"name": "log_mel", "mels": 20, "stack": 4},
        "context": {**CONTEXTS[context], "dim": 8, "layers": 3},
    }
    return TemporalGap().build(build(convert(settings, EncoderConfig)))


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_layers_rate_falls_with_the_layers_above_it(context):
    """The first update of AdamW without decay is as large as the rate, whatever the gradient."""
    model = deep(context)
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    settings = config(
        schedule=ScheduleConfig(peak=1e-3, decay="constant", warmup=0),
        optimizer=OptimizerConfig(layer_decay=0.5, weight_decay=0.0, eps=1e-20, clip=None),
    )
    optimizer = adamw(model, settings.optimizer)
    rates = {}
    for _ in train(model, optimizer, iter([batch([0, 1, 2, 3])]), settings, total=1):
        for name, each in model.named_parameters():
            rates[name] = float((each.detach() - before[name]).abs().max())
    seen = set()
    for name, rate in rates.items():
        level = 3
        for number in range(3):
            if f"layers.{number}." in name or f"readers.{number}." in name:
                level = number + 1
        lowest = name.startswith(("encoder.projection", "encoder.context.positions"))
        if lowest or (name.startswith("encoder.context.norm") and context == "post"):
            level = 0
        assert rate == pytest.approx(1e-3 * 0.5 ** (3 - level), rel=0.02), name
        seen.add(level)
    assert seen == {0, 1, 2, 3}


def test_without_decay_all_parts_learn_alike():
    optimizer = adamw(deep("gru"), OptimizerConfig())
    assert [group["scale"] for group in optimizer.param_groups] == [1.0, 1.0]


def test_the_state_of_decayed_layers_makes_a_round_trip():
    settings = config(optimizer=OptimizerConfig(layer_decay=0.5))
    straight, begun = Run(settings), Run(settings)
    straight.train(0, 4)
    begun.train(0, 2)
    resumed = Run(settings, seed=1)
    resumed.objective.load_state_dict(begun.objective.state_dict())
    resumed.epochs = begun.epochs
    state = named_state(begun.objective, begun.optimizer)
    restore_state(resumed.objective, resumed.optimizer, state.items())
    resumed.train(2, 4)
    pairs = zip(straight.objective.parameters(), resumed.objective.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_the_state_makes_a_round_trip():
    run = Run(config())
    run.train(0, 3)
    state = named_state(run.objective, run.optimizer)
    assert "exp_avg/encoder.projection.weight" in state
    assert not any("idle" in name or "teacher" in name for name in state)
    other = Run(config(), seed=1)
    restore_state(other.objective, other.optimizer, state.items())
    again = named_state(other.objective, other.optimizer)
    assert again.keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in again.items())
    assert all(value.dtype == state[name].dtype for name, value in again.items())
    assert float(again["step/encoder.projection.weight"]) == 3


def test_a_restored_state_shares_no_memory():
    run = Run(config())
    run.train(0, 1)
    state = named_state(run.objective, run.optimizer)
    before = {name: value.clone() for name, value in state.items()}
    other = Run(config())
    restore_state(other.objective, other.optimizer, state.items())
    other.train(1, 2)
    assert all(torch.equal(value, before[name]) for name, value in state.items())


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("exp_avg/nothing", torch.zeros(1), "unexpected exp_avg/nothing"),
        ("exp_avg/predict.bias", torch.zeros(3), r"mismatched exp_avg/predict.bias: \(3,\)"),
    ],
)
def test_a_state_that_does_not_fit_is_named(key, value, told):
    model = objective()
    with pytest.raises(ValueError, match=told):
        restore_state(model, adamw(model, OptimizerConfig()), {key: value}.items())


@pytest.mark.parametrize(
    "settings",
    [
        *[{"betas": (1.0, 0.9)}, {"eps": 0.0}, {"weight_decay": -1.0}, {"clip": 0.0}, {"clip": math.nan}],
        *[{"layer_decay": 0.0}, {"layer_decay": 1.1}],
    ],
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        OptimizerConfig(**settings)
