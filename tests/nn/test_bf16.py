"""Guards linear layers in bfloat16: what autocast computes, rounded once less."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sonorant.nn.bf16 import Bf16Linear, bf16_linears, has_bf16

pytestmark = pytest.mark.skipif(not has_bf16(), reason="oneDNN does not multiply in bfloat16 here")


@pytest.fixture
def values():
    return torch.randn(3, 50, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_the_rounded_product_of_rounded_numbers(values, bias):
    torch.manual_seed(0)
    linear = nn.Linear(96, 40, bias=bias)
    with torch.inference_mode():
        quick = Bf16Linear(linear)(values)
        rounded = [
            None if each is None else each.bfloat16().double() for each in (linear.weight, linear.bias)
        ]
        exact = F.linear(values.bfloat16().double(), *rounded)
    assert quick.dtype == torch.bfloat16
    torch.testing.assert_close(quick.double(), exact, rtol=2**-8, atol=1e-3)


def test_gelu_joins_the_layer_in_front_of_it_and_nothing_else(values):
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(96, 40), nn.GELU(), nn.Linear(40, 8), nn.ReLU())
    other = nn.Sequential(nn.Linear(96, 8), nn.GELU(approximate="tanh"), nn.GELU())
    module = nn.ModuleDict({"block": block, "other": other, "bare": nn.Linear(96, 8)})
    with torch.inference_mode():
        exact = [block(values), other(values), module["bare"](values)]
        bf16_linears(module)
        quick = [block(values), other(values), module["bare"](values)]
    for one, another in zip(exact, quick, strict=True):
        torch.testing.assert_close(another.float(), one, rtol=0.02, atol=0.01)
    kinds = [type(each).__name__ for each in [*block, *other]]
    assert kinds == ["Bf16Linear", "Identity", "Bf16Linear", "ReLU", "Bf16Linear", "GELU", "GELU"]
    assert [block[0].after, block[2].after, other[0].after] == ["gelu", "none", "none"]
