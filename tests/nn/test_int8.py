"""Guards linear layers in 8-bit integers: near the exact ones, whatever stands beside a vector."""

import pytest
import torch
from torch import nn

from sonorant.nn.int8 import Int8Linear, has_vnni, int8_linears

pytestmark = pytest.mark.skipif(not has_vnni(), reason="the processor has no VNNI")


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Linear(96, 40)


@pytest.fixture
def values():
    return torch.randn(3, 50, 96, generator=torch.Generator().manual_seed(1))


def test_the_product_is_rounded_to_steps(linear, values):
    """A vector's and a row's rounding are uniform over a step: each adds step^2 / 12 to a product's variance,
    times the other's energy."""
    with torch.inference_mode():
        error = Int8Linear(linear)(values) - linear(values)
        vectors = values.abs().amax(-1, keepdim=True) / 127
        rows = linear.weight.abs().amax(1) / 127
        variance = vectors.square() / 12 * linear.weight.square().sum(
            1
        ) + rows.square() / 12 * values.square().sum(-1, keepdim=True)
    share = (error.square() / variance).mean()
    assert 0.7 < share < 1.3


def test_neither_neighbours_nor_size_matter(linear, values):
    quick = Int8Linear(linear)
    with torch.inference_mode():
        together = quick(torch.cat([values * 1000, values]))[3:]
        torch.testing.assert_close(together, quick(values), rtol=0, atol=1e-6)
        torch.testing.assert_close(quick(values * 1024) - linear.bias, 1024 * (quick(values) - linear.bias),
                                   rtol=1e-4, atol=1e-2)  # fmt: skip


def test_zeros_give_the_bias_and_no_bias_is_none(linear):
    bare = nn.Linear(96, 40, bias=False)
    with torch.inference_mode():
        assert torch.equal(Int8Linear(linear)(torch.zeros(2, 96)), linear.bias.expand(2, 40))
        assert not Int8Linear(bare)(torch.zeros(2, 96)).any()


def test_autocast_chooses_the_output(linear, values):
    quick = Int8Linear(linear)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        rough = quick(values)
    assert rough.dtype == torch.bfloat16
    with torch.inference_mode():
        assert (rough.float() - quick(values)).abs().max() < 0.05


def test_every_linear_layer_is_replaced(linear):
    module = nn.Sequential(linear, nn.Sequential(nn.GELU(), nn.Linear(40, 2)), nn.LayerNorm(2))
    int8_linears(module)
    kinds = [type(each).__name__ for each in module.modules()]
    assert kinds == ["Sequential", "Int8Linear", "Sequential", "GELU", "Int8Linear", "LayerNorm"]
