"""Guards the encoder of wav2vec 2.0 and HuBERT against transformers on equal weights, layer by layer.

The tolerance: a sum of n products in single precision is off by about sqrt(n) * eps/2 relative to its
terms, every layer normalises its values to about one, and the errors of the products on the way to an
output add up. Two implementations differ by the sum of both errors, so that after d products in a row
|a - b| <= d * sqrt(n) * eps * the largest value, where n is the longest sum.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model

from sonorant.encoders.base import Encoder
from sonorant.encoders.convolutions import Convolutions, ConvolutionsConfig
from sonorant.encoders.transformer import Transformer, TransformerConfig
from sonorant.types import Padded, pad

CHANNELS, DIM, LAYERS, HEADS, FEEDFORWARD = 24, 32, 3, 4, 48
LONGEST = 16 * DIM // 4  # products in one sum: the positions' kernel times a group's width
CONVOLUTIONS, PER_LAYER = 8, 6  # products in a row: with the norm's, and in attention and feed-forward

# (transformers' feat_extract_norm and do_stable_layer_norm; the positions' kernel, even and odd)
KINDS = {
    "base": ("group", False, 16),
    "large": ("layer", True, 15),
    "hubert": ("group", False, 16),
}


def theirs(kind):
    norm, stable, kernel = KINDS[kind]
    torch.manual_seed(0)
    shape, network = (HubertConfig, HubertModel) if kind == "hubert" else (Wav2Vec2Config, Wav2Vec2Model)
    config = shape(
        hidden_size=DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=FEEDFORWARD,
        conv_dim=(CHANNELS,) * 7,
        conv_bias=norm == "layer",
        feat_extract_norm=norm,
        do_stable_layer_norm=stable,
        num_conv_pos_embeddings=kernel,
        num_conv_pos_embedding_groups=4,
    )
    model = network(config).eval()
    with torch.no_grad():  # every weight has to count
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) / 5)
            elif name.endswith("weight") and "encoder.layers" in name:
                parameter.mul_(5)
    return model


def ours(kind):
    norm, _, kernel = KINDS[kind]
    frontend = ConvolutionsConfig(dim=CHANNELS, norm="group_unmasked" if norm == "group" else "layer")
    context = TransformerConfig(
        dim=DIM,
        layers=LAYERS,
        heads=HEADS,
        feedforward=FEEDFORWARD,
        norm="pre" if kind == "large" else "post",
        position_kernel=kernel,
        position_groups=4,
    )
    return Encoder(Convolutions(frontend), Transformer(context)).eval()


NAMES = {  # transformers' part of a name, and this project's
    "feature_extractor.conv_layers": "frontend.layers",
    "feature_projection.layer_norm": "frontend.norm",
    "feature_projection.projection": "projection",
    "encoder.pos_conv_embed.conv.parametrizations.weight.original0": "context.positions.length",
    "encoder.pos_conv_embed.conv.parametrizations.weight.original1": "context.positions.direction",
    "encoder.pos_conv_embed.conv.bias": "context.positions.bias",
    "encoder.": "context.",
    ".feed_forward.intermediate_dense": ".feedforward.0",
    ".feed_forward.output_dense": ".feedforward.3",
    ".final_layer_norm": ".feedforward_norm",
    ".attention.out_proj": ".attention.outward",
}


def renamed(model):
    """transformers' weights under this project's names."""
    state = {}
    for name, value in model.state_dict().items():
        for part, counterpart in NAMES.items():
            name = name.replace(part, counterpart)
        norm = "attention_norm" if "context.layers" in name else "norm"
        state[name.replace("layer_norm", norm)] = value
    del state["masked_spec_embed"]
    for layer in range(LAYERS):
        for kind in ("weight", "bias"):
            stem = f"context.layers.{layer}.attention"
            parts = [state.pop(f"{stem}.{one}_proj.{kind}") for one in "qkv"]
            state[f"{stem}.inward.{kind}"] = torch.cat(parts)
    return state


def pair(kind):
    model, encoder = theirs(kind), ours(kind)
    encoder.load_state_dict(renamed(model))
    return model, encoder


PAIRS = {kind: pair(kind) for kind in KINDS}
every_kind = pytest.mark.parametrize("kind", KINDS)


def traced(model, inputs, mask):
    """transformers' normalised features, each layer's output, and the end of the encoder."""
    outputs = []
    hooks = [
        layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        for layer in (model.feature_projection.layer_norm, *model.encoder.layers)
    ]
    result = model(inputs, attention_mask=mask)
    for hook in hooks:
        hook.remove()
    features, *layers = outputs
    return features, [*layers[:-1], result.last_hidden_state]


def assert_agree(found, expected, products):
    tolerance = products * LONGEST**0.5 * torch.finfo(torch.float32).eps
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def assert_layers_agree(kind, waveforms: Padded, *, mask):
    model, encoder = PAIRS[kind]
    with torch.no_grad():
        features, layers = traced(model, waveforms.values, mask)
        frames = encoder.frontend(waveforms)
        hidden = encoder.context(encoder.project(frames))
    real = frames.mask
    assert_agree(frames.values[real], features[real], CONVOLUTIONS)
    for depth, (found, expected) in enumerate(zip(hidden.layers, layers, strict=True), start=1):
        assert_agree(found[real], expected[real], CONVOLUTIONS + 2 + PER_LAYER * depth)


def noise(lengths, seed, loudness):
    generator = torch.Generator().manual_seed(seed)
    return pad([loudness * torch.randn(length, generator=generator) for length in lengths])


lengths = st.integers(400, 12000)
seeds = st.integers(0, 1000)
loudnesses = st.sampled_from([0.01, 0.1, 1.0])
few = settings(max_examples=12, deadline=None, derandomize=True)


@every_kind
@few
@given(length=lengths, count=st.integers(1, 3), seed=seeds, loudness=loudnesses)
def test_waveforms_of_one_length_agree(kind, length, count, seed, loudness):
    assert_layers_agree(kind, noise([length] * count, seed, loudness), mask=None)


@every_kind
@few
@given(many=st.lists(lengths, min_size=2, max_size=4), seed=seeds, loudness=loudnesses)
def test_padded_waveforms_agree(kind, many, seed, loudness):
    waveforms = noise(many, seed, loudness)
    assert_layers_agree(kind, waveforms, mask=waveforms.mask.long())


def test_the_masked_group_norm_agrees_with_each_waveform_alone():
    """The default norm is the published one without padding, whatever the padding."""
    model, encoder = PAIRS["base"]
    masked = Convolutions(ConvolutionsConfig(dim=CHANNELS, norm="group")).eval()
    masked.load_state_dict(encoder.frontend.state_dict())
    waveforms = noise([3000, 9000, 5000], 1, 0.1)
    with torch.no_grad():
        found = masked(waveforms)
        for row, length in enumerate(waveforms.lengths.tolist()):
            features = model(waveforms.values[row : row + 1, :length]).extract_features[0]
            assert_agree(found.values[row, : len(features)], features, CONVOLUTIONS)
