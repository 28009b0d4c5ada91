"""Guards AdamW: what it computes, what it does not decay, and that its state comes back under its names."""

import math

import pytest
import torch
from torch import nn
from training_stub import Run, config, objective

from sonorant.train.optim import OptimizerConfig, adamw, named_state, restore_state


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
    [{"betas": (1.0, 0.9)}, {"eps": 0.0}, {"weight_decay": -1.0}, {"clip": 0.0}, {"clip": math.nan}],
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        OptimizerConfig(**settings)
