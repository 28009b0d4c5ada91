"""Guards the QRNN against its equations written out as loops over utterances, steps and directions."""

import pytest
import torch

from sonorant.encoders.qrnn import QRNN, QRNNConfig
from sonorant.types import pad


def one_direction(frames, gates, kernel):
    """h_1 .. h_T by eq. 1 and 4, each convolution a sum over the frames that it reaches."""
    dim = frames.shape[1]
    blocks = gates.weight.view(3, -1, dim, kernel)  # z, f, o; units; channels; places, the present one last
    biases = gates.bias.view(3, -1)
    state, outputs = torch.zeros(blocks.shape[1]), []
    for t in range(len(frames)):
        sums = biases.clone()
        for place in range(kernel):
            before = t - (kernel - 1) + place
            if before >= 0:
                sums = sums + torch.einsum("guc,c->gu", blocks[..., place], frames[before])
        z, f, o = sums[0].tanh(), sums[1].sigmoid(), sums[2].sigmoid()
        state = f * state + (1 - f) * z
        outputs.append(o * state)
    return torch.stack(outputs)


@pytest.mark.parametrize(("bidirectional", "residual", "kernel"), [(True, True, 2), (False, False, 3)])
@torch.no_grad()
def test_the_layers_are_what_the_loops_say(bidirectional, residual, kernel):
    torch.manual_seed(3)
    config = QRNNConfig(
        dim=6, layers=2, cells=8, kernel=kernel, bidirectional=bidirectional, residual=residual
    )
    context = QRNN(config)
    utterances = [torch.randn(9, 6), torch.randn(5, 6)]
    found = context(pad(utterances)).layers
    for row, values in enumerate(utterances):
        for number, layer in enumerate(context.layers):
            states = [one_direction(values, layer.gates[0], kernel)]
            if bidirectional:
                states.append(one_direction(values.flip(0), layer.gates[1], kernel).flip(0))
            output = torch.cat(states, 1) @ layer.outward.weight.T + layer.outward.bias
            values = values + output if residual else output
            expected = values
            if number == 1:
                centred = values - values.mean(1, keepdim=True)
                expected = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
            torch.testing.assert_close(found[number][row, : len(values)], expected, rtol=1e-4, atol=1e-5)
