"""Guards what the encoders' settings do, and that impossible sizes are refused with both numbers."""

from itertools import pairwise

import pytest
import torch

from sonorant.config import ConfigError, builtins, convert
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.convolutions import Convolutions, ConvolutionsConfig
from sonorant.encoders.log_mel import LogMel, LogMelConfig
from sonorant.encoders.recurrent import GRUConfig, LSTMConfig, Recurrent
from sonorant.encoders.transformer import Transformer, TransformerConfig
from sonorant.types import Padded, pad

MEL = {"name": "log_mel"}


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"name": "transformer", "dim": 250, "heads": 4}, "heads 4 must divide dim 250"),
        ({"name": "conformer", "dim": 250, "heads": 4}, "heads 4 must divide dim 250"),
        ({"name": "conformer", "dim": 12, "heads": 4}, "2 must divide the width of a head 3"),
        ({"name": "conformer", "kernel": 30}, "kernel 30 must be odd"),
        ({"name": "transformer", "dim": 40, "heads": 4}, "position_groups 16 must divide dim 40"),
        ({"name": "gru", "dim": 33, "bidirectional": True}, "2 must divide dim 33"),
        ({"name": "gru", "layers": 0}, "encoder.context.layers: expected int >= 1: 0"),
        ({"name": "gru", "dropout": 1.5}, "encoder.context.dropout: expected float < 1"),
        ({"name": "elman"}, "encoder.context"),
        ({"name": "masked_convolutions", "kernel": 13}, "kernel above mask [+] 2 [*] layers = 13"),
        ({"name": "masked_convolutions", "mask": 4}, "must be odd"),
    ],
)
def test_impossible_sizes_are_refused(context, message):
    with pytest.raises(ConfigError, match=message):
        convert({"frontend": MEL, "context": context}, EncoderConfig, path="encoder")


def test_bands_beyond_the_nyquist_frequency_are_refused():
    with pytest.raises(ConfigError, match=r"high 5000.* <= 4000"):
        LogMelConfig(rate=8000, high=5000)


def test_settings_survive_the_way_through_json():
    config = convert({"frontend": MEL, "context": {"name": "gru"}, "dropout": 0.2}, EncoderConfig)
    assert convert(builtins(config), EncoderConfig) == config
    assert build(config).dropout.p == 0.2


def noise(*lengths):
    torch.manual_seed(0)
    return pad([torch.randn(length) / 10 for length in lengths])


def test_utterance_normalisation_is_over_the_utterance_and_stacking_keeps_the_order():
    plain = LogMel(LogMelConfig())(noise(8000, 5000))
    for values, length in zip(plain.values, plain.lengths, strict=True):
        torch.testing.assert_close(values[:length].mean(0), torch.zeros(80), atol=1e-5, rtol=0)
        torch.testing.assert_close(values[:length].var(0, correction=0), torch.ones(80))
    stacked = LogMel(LogMelConfig(stack=3))(noise(8000, 5000))
    assert stacked.lengths.tolist() == [length // 3 for length in plain.lengths.tolist()]
    assert torch.equal(stacked.values[0, 1], plain.values[0, 3:6].flatten())


def test_digital_silence_stays_silent():
    silence = LogMel(LogMelConfig())(pad([torch.zeros(4000)])).values
    assert silence.abs().max() < 0.01  # not the rounding of a mean, blown up to unit variance


def test_group_norm_over_the_padding_is_the_one_exception():
    torch.manual_seed(0)
    model = Convolutions(ConvolutionsConfig(dim=16, norm="group_unmasked"))
    together, alone = model(noise(4000, 9000)), model(noise(4000))
    length = alone.values.shape[1]
    assert (together.values[0, :length] - alone.values[0]).abs().max() > 0.01


def test_waveform_normalisation_makes_loudness_and_offset_vanish():
    model = Convolutions(ConvolutionsConfig(dim=16, norm="layer", normalize_waveform=True))
    inputs = noise(4000)
    louder = Padded(inputs.values * 5 + 0.5, inputs.lengths)
    torch.testing.assert_close(model(inputs).values, model(louder).values, rtol=1e-3, atol=1e-3)


def test_the_gradient_scale_acts_on_the_convolutions_alone():
    found = {}
    for scale in (1.0, 0.1):
        torch.manual_seed(0)
        model = Convolutions(ConvolutionsConfig(dim=16, gradient_scale=scale))
        (model(noise(4000)).values * torch.linspace(-1, 1, 16)).sum().backward()
        found[scale] = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, gradient in found[1.0].items():
        factor = 1.0 if name.startswith("norm.") else 0.1
        torch.testing.assert_close(found[0.1][name], factor * gradient, msg=name)


def frames():
    torch.manual_seed(0)
    return pad([torch.randn(30, 32), torch.randn(20, 32)])


def test_a_dropped_layer_hands_its_input_on():
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(dim=32, layers=12, dropout=0, layerdrop=0.5, position_kernel=16))
    outputs = model.train()(frames()).layers
    same = [torch.equal(before, after) for before, after in pairwise(outputs)]
    assert 0 < sum(same) < 11
    torch.manual_seed(5)
    first = model(frames()).last.values
    torch.manual_seed(5)
    assert torch.equal(model(frames()).last.values, first)  # frames() draws too, from a seed of its own
    outputs = model.eval()(frames()).layers
    assert not any(torch.equal(before, after) for before, after in pairwise(outputs))


@pytest.mark.parametrize("config", [GRUConfig, LSTMConfig])
@pytest.mark.parametrize("residual", [True, False])
def test_a_residual_layer_adds_its_input(config, residual):
    model = Recurrent(config(dim=32, layers=3, residual=residual))
    values = frames().values
    for (layer,), output in zip(model.layers, model(frames()).layers, strict=True):
        recurrent, _ = layer(values)
        values = recurrent + values if residual else recurrent
        torch.testing.assert_close(output, values)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_last_layer_is_normalised(norm):
    model = Transformer(TransformerConfig(dim=32, layers=2, norm=norm)).eval()
    last = model(frames()).last.values
    torch.testing.assert_close(last.mean(-1), torch.zeros(2, 30), atol=1e-5, rtol=0)
    torch.testing.assert_close(last.var(-1, correction=0), torch.ones(2, 30), atol=1e-2, rtol=0)
