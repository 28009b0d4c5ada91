"""Guards the weights' average against one computed slowly."""

import pytest
import torch
from training_stub import Run, config, objective

from sonorant.train.average import Average


def test_it_is_the_exponential_moving_average():
    run = Run(config(ema=0.4))
    expected = {name: each.detach().clone() for name, each in run.objective.named_parameters()}
    for step in range(1, 7):
        run.train(step - 1, step)
        decay = min(0.4, (1 + step) / (10 + step))
        for name, each in run.objective.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * each.detach()
    assert run.average is not None
    assert not any("teacher" in name for name in run.average.weights)
    for name, mean in run.average.weights.items():
        torch.testing.assert_close(mean, expected[name], rtol=1e-5, atol=1e-7)


def test_it_is_in_float32_for_narrower_weights():
    model = objective().bfloat16()
    average = Average(model, 0.999)
    before = average.weights["predict.bias"].clone()
    with torch.no_grad():
        model.predict.bias += 1.0
    for step in range(10000, 10010):
        average.update(model, step)
    mean = average.weights["predict.bias"]
    assert mean.dtype == torch.float32
    expected = before + (model.predict.bias.float() - before) * (1 - 0.999**10)
    torch.testing.assert_close(mean, expected.detach(), rtol=1e-4, atol=1e-5)


def test_applied_swaps_and_gives_back():
    run = Run(config(ema=0.9))
    run.train(0, 3)
    before = run.state()
    assert run.average is not None
    with run.average.applied(run.objective):
        for name, mean in run.average.weights.items():
            assert torch.equal(run.objective.state_dict()[name], mean)
        assert not torch.equal(run.objective.predict.weight, before["predict.weight"])
    assert all(torch.equal(value, before[name]) for name, value in run.state().items())


def test_applied_gives_back_after_an_error():
    run = Run(config(ema=0.9))
    run.train(0, 2)
    before = run.state()
    assert run.average is not None
    with pytest.raises(KeyError), run.average.applied(run.objective):
        raise KeyError
    assert all(torch.equal(value, before[name]) for name, value in run.state().items())


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_a_wrong_decay_is_named(decay):
    with pytest.raises(ValueError, match=str(decay)):
        Average(objective(), decay)
