"""Guards the masked convolutions: which frames a layer sees, and which not."""

import pytest
import torch

from sonorant.encoders.masked_convolutions import MaskedConvolutions, MaskedConvolutionsConfig
from sonorant.types import Padded


@pytest.mark.parametrize(("layers", "kernel", "mask"), [(1, 5, 1), (2, 9, 3), (3, 15, 5)])
def test_every_layer_sees_the_frames_around_and_not_those_in_the_hole(layers, kernel, mask):
    torch.manual_seed(0)
    config = MaskedConvolutionsConfig(dim=8, layers=layers, kernel=kernel, mask=mask)
    context = MaskedConvolutions(config).eval()
    assert not context.causal
    frames = torch.randn(1, 41, 8, requires_grad=True)
    outputs = context(Padded(frames, torch.tensor([41]))).layers
    assert len(outputs) == layers
    for number, output in enumerate(outputs, start=1):
        (gradient,) = torch.autograd.grad(output[0, 20].square().sum(), frames, retain_graph=True)
        seen = [abs(step - 20) for step in gradient[0].abs().sum(1).nonzero().flatten().tolist()]
        expected = range(mask // 2 + 1, kernel // 2 + number + 1)
        assert sorted(seen) == sorted([*expected, *expected])


def test_a_layer_adds_to_the_one_before():
    torch.manual_seed(0)
    context = MaskedConvolutions(MaskedConvolutionsConfig(dim=8, layers=2, kernel=9, mask=3)).eval()
    frames = Padded(torch.randn(1, 20, 8), torch.tensor([20]))
    first, second = context(frames).layers
    with torch.no_grad():
        context.readers[1].convolution.weight.zero_()
        context.readers[1].convolution.bias.zero_()
    assert not torch.equal(first, second)
    torch.testing.assert_close(context(frames).layers[1], first)
