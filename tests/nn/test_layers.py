"""Guards the parts that encoders are made of against plain PyTorch, and dropout's statistics."""

import pytest
import torch
from torch.nn import functional as F

from sonorant.nn.attention import SelfAttention, key_mask
from sonorant.nn.convolution import DepthwiseConvolution, halve, normalised_filters
from sonorant.nn.dropout import Dropout
from sonorant.nn.features import log_mel
from sonorant.nn.normalize import standardize
from sonorant.nn.positions import ConvolutionalPositions, rotary_angles, rotate
from sonorant.types import Padded, pad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_the_mean_and_scales_what_it_keeps(dtype):
    torch.manual_seed(0)
    values = torch.ones(1001, 999, dtype=dtype, requires_grad=True)
    dropped = Dropout(0.3)(values)
    assert dropped.dtype == dtype
    share = (dropped == 0).double().mean().item()
    assert abs(share - 0.3) < 5 * (0.3 * 0.7 / values.numel()) ** 0.5
    torch.testing.assert_close(dropped.max(), torch.tensor(256 / (256 - 77), dtype=dtype))
    assert set(dropped.unique().tolist()) == {0.0, dropped.max().item()}
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped)


def test_dropout_draws_from_the_global_generator_and_rests_outside_training():
    values, dropout = torch.randn(7, 13), Dropout(0.5)
    torch.manual_seed(3)
    first = dropout(values)
    torch.manual_seed(3)
    assert torch.equal(dropout(values), first)
    assert not torch.equal(dropout(values), first)
    assert dropout.eval()(values) is values
    assert Dropout(0.0)(values) is values


@pytest.mark.parametrize("dim", [12, 16, 24])
@pytest.mark.parametrize("kernel", [1, 7, 31])
def test_depthwise_convolution_is_conv1d(kernel, dim):
    torch.manual_seed(0)
    layer, values = DepthwiseConvolution(dim, kernel=kernel), torch.randn(3, 20, dim)
    torch.nn.init.normal_(layer.bias)
    expected = F.conv1d(
        values.transpose(1, 2), layer.weight[:, None], layer.bias, padding=kernel // 2, groups=dim
    ).transpose(1, 2)
    torch.testing.assert_close(layer(values), expected)
    with torch.autocast("cpu", torch.bfloat16):  # in which narrow ones would not end
        rough = layer(values.bfloat16())
    assert (rough - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize(("dim", "groups"), [(32, 16), (64, 16), (24, 4), (64, 4), (48, 1)])
def test_positions_are_right_under_bfloat16_however_narrow_the_groups(dim, groups):
    torch.manual_seed(0)
    layer = ConvolutionalPositions(dim, kernel=64, groups=groups)
    frames = pad([torch.randn(50, dim), torch.randn(30, dim)])
    exact = layer(frames)
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(frames)
    assert (rough.float() - exact).abs().max() < 0.02 * exact.abs().max()


@pytest.mark.parametrize("kernel", [8, 9])
def test_positions_look_as_far_back_as_the_kernel_says(kernel):
    layer, values = ConvolutionalPositions(4, kernel=kernel, groups=2), torch.randn(1, 30, 4)
    values.requires_grad_()
    layer(Padded(values, torch.tensor([30])))[0, 15].sum().backward()
    seen = values.grad[0].abs().sum(-1).nonzero()[:, 0]
    assert (seen.min(), seen.max()) == (15 - kernel // 2, 15 + (kernel - 1) // 2)


def test_rotary_products_depend_on_distances_alone():
    torch.manual_seed(0)
    query, key = torch.randn(2, 16)
    angles = rotary_angles(40, 16, device=query.device)
    queries, keys = (rotate(one.expand(1, 1, 40, 16), angles)[0, 0] for one in (query, key))
    products = queries @ keys.T
    for distance in (-7, 0, 12):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-4)
    assert products[0].std() > 0.1
    torch.testing.assert_close(products[3, 3], query @ key, rtol=1e-4, atol=1e-4)


def test_attention_is_the_textbook_formula():
    torch.manual_seed(0)
    layer, frames = SelfAttention(12, heads=3), pad([torch.randn(9, 12), torch.randn(5, 12)])
    queries, keys, content = (
        part.view(2, 9, 3, 4).transpose(1, 2) for part in layer.inward(frames.values).chunk(3, dim=-1)
    )
    scores = (queries @ keys.transpose(2, 3) / 2).masked_fill(~frames.mask[:, None, None], -torch.inf)
    expected = layer.outward((scores.softmax(-1) @ content).transpose(1, 2).reshape(2, 9, 12))
    torch.testing.assert_close(layer(frames.values, mask=key_mask(frames)), expected)
    assert key_mask(pad([torch.randn(9, 12)] * 2)) is None


@pytest.mark.parametrize("times", [(9, 9), (9, 5), (600, 400)])
def test_attention_in_bfloat16_trains_as_in_single_precision(times):
    torch.manual_seed(0)
    layer, frames = SelfAttention(16, heads=2), pad([torch.randn(time, 16) for time in times])
    angles, mask = rotary_angles(max(times), 8, device=torch.device("cpu")), key_mask(frames)
    weights = torch.randn(len(times), max(times), 16) * frames.mask[..., None]

    def gradients():
        attended = layer(frames.values, mask=mask, angles=angles)
        found = torch.autograd.grad((attended.float() * weights).sum(), list(layer.parameters()))
        return [attended.float() * frames.mask[..., None], *found]

    exact = gradients()
    with torch.autocast("cpu", torch.bfloat16):
        rough = gradients()
    for one, other in zip(exact, rough, strict=True):
        assert (one - other).norm() < 0.02 * one.norm()


def test_standardize_takes_real_steps_alone():
    torch.manual_seed(0)
    sequences = pad([torch.randn(9, 2) * 3 + 5, torch.full((4, 2), 7.0)])
    sequences.values[1, 4:] = 100
    found = standardize(sequences).values
    first = sequences.values[0]
    torch.testing.assert_close(found[0], (first - first.mean(0)) / first.std(0, correction=0))
    assert not found[1].any()


@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
def test_halving_is_a_convolution_of_stride_two(kernel):
    torch.manual_seed(0)
    frames = torch.randn(2, 14, 6, requires_grad=True)
    weight, bias = torch.randn(5, 6, kernel, requires_grad=True), torch.randn(5, requires_grad=True)
    inputs = (frames, weight, bias)
    expected = F.conv1d(frames.transpose(1, 2), weight, bias, stride=2).transpose(1, 2)
    found = halve(frames, weight, bias)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    exact, mine = (
        torch.autograd.grad((each * weights).sum(), inputs, retain_graph=True) for each in (expected, found)
    )
    for one, other in zip(exact, mine, strict=True):
        torch.testing.assert_close(one, other)
    with torch.autocast("cpu", torch.bfloat16):
        rough = halve(frames, weight, bias)
    for one, other in zip(exact, torch.autograd.grad((rough.float() * weights).sum(), inputs), strict=True):
        assert other.dtype == torch.float32
        assert (one - other).norm() < 0.02 * one.norm()


def test_normalised_filters_are_a_convolution_and_a_group_norm_of_real_steps():
    torch.manual_seed(0)
    waves, counts = torch.randn(2, 60) + 0.3, torch.tensor([11, 6])
    weight, gain, bias = (each.requires_grad_() for each in (torch.randn(4, 10), *torch.randn(2, 4)))
    windows = waves.unfold(1, 10, 5)
    filters, offsets = normalised_filters(windows, counts, weight, gain=gain, bias=bias)
    found = windows @ filters + offsets
    for wave, count, result in zip(waves, counts.tolist(), found, strict=True):
        plain = F.conv1d(wave[None, None], weight[:, None], stride=5)[..., :count]
        expected = F.group_norm(plain, 4, gain, bias)[0].T
        torch.testing.assert_close(result[:count], expected, rtol=1e-4, atol=1e-5)
        weights = torch.randn_like(expected)
        pairs = [(each * weights).sum() for each in (result[:count], expected)]
        grads = [torch.autograd.grad(each, (weight, gain, bias), retain_graph=True) for each in pairs]
        for mine, other in zip(*grads, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def test_log_mel_is_computed_in_single_precision_under_autocast():
    waveforms = pad([torch.randn(4000, generator=torch.Generator().manual_seed(0))])
    exact = log_mel(waveforms, rate=16000).values
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(log_mel(waveforms, rate=16000).values, exact)
    assert torch.equal(
        log_mel(Padded(waveforms.values.double(), waveforms.lengths), rate=16000).values, exact
    )
