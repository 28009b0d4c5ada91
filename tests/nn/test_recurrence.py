"""Guards recurrent layers over padded sequences: both directions as of packed ones, gradients too."""

import pytest
import torch
from torch import nn

from sonorant.nn.recurrence import backwards, run
from sonorant.types import Padded

NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_both_directions_are_those_of_packed_sequences(kind):
    torch.manual_seed(0)
    whole = kind(5, 3, bidirectional=True, batch_first=True)
    layer = nn.ModuleList(kind(5, 3, batch_first=True) for _ in range(2))
    with torch.no_grad():
        for name in NAMES:
            getattr(layer[0], name).copy_(getattr(whole, name))
            getattr(layer[1], name).copy_(getattr(whole, f"{name}_reverse"))
    frames = Padded(torch.randn(4, 9, 5), torch.tensor([9, 4, 1, 7]))
    slopes = torch.randn(4, 9, 6)

    packed = nn.utils.rnn.pack_padded_sequence(
        frames.values, frames.lengths, batch_first=True, enforce_sorted=False
    )
    expected, _ = nn.utils.rnn.pad_packed_sequence(whole(packed)[0], batch_first=True)
    found = Padded(run(layer, frames.values, backwards(frames)), frames.lengths).zeroed().values
    torch.testing.assert_close(found, expected)

    (expected * slopes).sum().backward()
    (found * slopes).sum().backward()
    for name in NAMES:
        torch.testing.assert_close(getattr(layer[0], name).grad, getattr(whole, name).grad)
        torch.testing.assert_close(getattr(layer[1], name).grad, getattr(whole, f"{name}_reverse").grad)


def test_steps_are_turned_within_each_length():
    frames = Padded(torch.zeros(3, 4, 1), torch.tensor([4, 2, 0]))
    turned = backwards(frames)[..., 0]
    assert turned.tolist() == [[3, 2, 1, 0], [1, 0, 2, 3], [0, 1, 2, 3]]
    assert turned.take_along_dim(turned, 1).tolist() == [[0, 1, 2, 3]] * 3
