"""Guards what every encoder promises: padding changes nothing, frames are counted right, gradient arrives."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonorant.config import convert
from sonorant.encoders.build import EncoderConfig, build
from sonorant.types import Padded

FRONTENDS = {
    "mel": {"name": "log_mel"},
    "mel_stacked": {"name": "log_mel", "mels": 40, "stack": 4, "normalize": "none"},
    "conv_group": {"name": "convolutions", "dim": 24, "normalize_waveform": True},
    "conv_layer": {"name": "convolutions", "dim": 24, "norm": "layer"},
    "sinc": {"name": "sinc", "dim": 32},
    "sinc_skips": {"name": "sinc", "dim": 32, "skips": True},
}
SMALL = {"dim": 32, "layers": 2}
CONTEXTS = {
    "gru": {"name": "gru"} | SMALL,
    "gru_both": {"name": "gru", "bidirectional": True, "residual": False} | SMALL,
    "lstm": {"name": "lstm"} | SMALL,
    "lstm_both": {"name": "lstm", "bidirectional": True} | SMALL,
    "post": {"name": "transformer", "position_kernel": 16} | SMALL,
    "pre": {"name": "transformer", "norm": "pre", "positions": "rotary"} | SMALL,
    "no_positions": {"name": "transformer", "positions": "none"} | SMALL,
    "conformer": {"name": "conformer", "kernel": 7} | SMALL,
    "masked": {"name": "masked_convolutions", "kernel": 9, "mask": 3} | SMALL,
    "qrnn": {"name": "qrnn", "bidirectional": False, "residual": False, "cells": 24, "kernel": 3} | SMALL,
    "qrnn_both": {"name": "qrnn", "cells": 48} | SMALL,
    "pointwise": {"name": "pointwise", "dim": 32},
}
LENGTHS = (4000, 6543, 9000)
ROUNDING = 1e-5  # of the largest value: single precision through the deepest of these encoders

every_frontend = pytest.mark.parametrize("frontend", FRONTENDS)
every_context = pytest.mark.parametrize("context", CONTEXTS)


def encoder(frontend="mel_stacked", context="gru"):
    torch.manual_seed(0)
    parts = {"frontend": FRONTENDS[frontend], "context": CONTEXTS[context]}
    return build(convert(parts, EncoderConfig)).eval()


def waveforms(lengths=LENGTHS, *, longest=9000, beyond=0.0):
    """Noise, each utterance the same whatever stands beside it; `beyond` fills the padding."""
    values = torch.full((len(lengths), longest), beyond)
    for row, length in enumerate(lengths):
        values[row, :length] = torch.randn(length, generator=torch.Generator().manual_seed(length)) / 10
    return Padded(values, torch.tensor(lengths))


def assert_close(found, expected, rounding=ROUNDING):
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= rounding * expected.abs().max()


def gradients(model, batches):
    model.zero_grad()
    for batch in batches:
        hidden = model(batch)
        shape = hidden.layers[-1].shape[-1]
        direction = torch.linspace(-1, 1, shape)  # a layer norm's sum has no gradient, a weighted sum has
        real = torch.stack(hidden.layers)[:, hidden.last.mask]
        (real.sigmoid() * direction).sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@every_frontend
@every_context
def test_padding_changes_nothing(frontend, context):
    model = encoder(frontend, context)
    together = model(waveforms(longest=12000, beyond=3.0))
    for row, length in enumerate(LENGTHS):
        alone = model(waveforms([length], longest=length))
        frames = model.frontend.frames(length)
        assert together.lengths[row] == alone.lengths[0] == frames
        for padded, layer in zip(together.layers, alone.layers, strict=True):
            assert layer.shape == (1, frames, model.context.dim)
            assert_close(padded[row, :frames], layer[0])


@every_frontend
@every_context
def test_gradient_reaches_every_parameter_and_none_comes_from_padding(frontend, context):
    model = encoder(frontend, context)
    together = gradients(model, [waveforms(longest=12000, beyond=3.0)])
    apart = gradients(model, [waveforms([length], longest=length) for length in LENGTHS])
    scale = max(gradient.abs().max() for gradient in apart.values())
    for name, gradient in apart.items():
        assert gradient is not None, name
        assert gradient.abs().max() > 0, name
        assert (together[name] - gradient).abs().max() <= 1e-4 * scale, name


@every_frontend
@every_context
def test_bfloat16_autocast_stays_near_single_precision(frontend, context):
    model = encoder(frontend, context)
    exact = model(waveforms()).last
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(waveforms()).last
    mask = exact.mask
    # seven convolutions and two layers, each rounded to eight bits
    assert_close(rough.values[mask].float(), exact.values[mask], rounding=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        model.train()(waveforms()).last.values.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@every_frontend
@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(880, 5000))
def test_frames_are_as_many_as_announced(frontend, samples):
    part = encoder(frontend).frontend
    frames = part(waveforms([samples], longest=samples))
    assert frames.values.shape[1:] == (part.frames(samples), part.dim)
    assert frames.lengths.item() == part.frames(samples)


@every_frontend
def test_a_frame_starts_each_stride(frontend):
    part = encoder(frontend).frontend
    counts = [part.frames(samples) for samples in range(20 * part.stride)]
    steps = [samples for samples in range(1, len(counts)) if counts[samples] > counts[samples - 1]]
    assert {after - before for before, after in pairwise(steps)} == {part.stride}
    assert part.frames(0) == 0


@every_frontend
def test_the_padding_of_frames_is_zero(frontend):
    frames = encoder(frontend).frontend(waveforms(beyond=3.0))
    assert not frames.values[~frames.mask].any()


@every_frontend
def test_a_waveform_without_a_frame_is_refused(frontend):
    part = encoder(frontend).frontend
    shortest = next(samples for samples in range(2000) if part.frames(samples))
    with pytest.raises(ValueError, match=f"{shortest - 1} samples is too short.*needs {shortest}"):
        part(waveforms([4000, shortest - 1], longest=4000))


@pytest.mark.parametrize("context", sorted(CONTEXTS.keys() - {"masked", "pointwise"}))  # of their own kind
def test_causal_is_true_where_no_step_sees_the_future(context):
    part = encoder(context=context).context
    torch.manual_seed(1)
    values = torch.randn(1, 20, 32, requires_grad=True)
    seen = part(Padded(values, torch.tensor([20]))).layers[-1][0, 9]
    (seen * torch.linspace(-1, 1, 32)).sum().backward()
    assert values.grad[0, :10].abs().sum(-1).min() > 0
    assert part.causal == (not values.grad[0, 10:].any())
