"""Guards data2vec's targets against transformers' data2vec encoder on equal weights.

transformers has no pretraining loss of data2vec, and its five position convolutions are not in this project:
with their weights at zero no position is added on either side, and everything else can be held against each
other, from the waveform to the feed-forward blocks. `torch.nn.functional.instance_norm` is the other
normalisation.
"""

import torch
from torch.nn import functional as F
from transformers import Data2VecAudioConfig, Data2VecAudioModel

from sonorant.encoders.base import Encoder
from sonorant.encoders.convolutions import Convolutions, ConvolutionsConfig
from sonorant.encoders.teacher import Teacher
from sonorant.encoders.transformer import Transformer, TransformerConfig
from sonorant.types import Padded, pad

CHANNELS, DIM, LAYERS, HEADS, FEEDFORWARD = 12, 16, 3, 2, 24
TOLERANCE = (
    1e-4  # of values about one: sums of up to some hundred products in single precision, layer by layer
)
NAMES = {  # transformers' part of a name, and this project's
    "feature_extractor.conv_layers": "frontend.layers",
    "feature_projection.layer_norm": "frontend.norm",
    "feature_projection.projection": "projection",
    "encoder.": "context.",
    ".feed_forward.intermediate_dense": ".feedforward.0",
    ".feed_forward.output_dense": ".feedforward.3",
    ".final_layer_norm": ".feedforward_norm",
    ".attention.out_proj": ".attention.outward",
}


def theirs():
    torch.manual_seed(0)
    config = Data2VecAudioConfig(
        hidden_size=DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=FEEDFORWARD,
        conv_dim=(CHANNELS,) * 7,
        conv_bias=True,
        num_conv_pos_embedding_groups=2,
    )
    model = Data2VecAudioModel(config).eval()
    with torch.no_grad():  # every weight has to count, but those of the positions
        for name, parameter in model.named_parameters():
            if "pos_conv_embed" in name:
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) / 5)
            elif "encoder.layers" in name:
                parameter.mul_(10)
    return model


def ours(model):
    """The encoder with transformers' weights."""
    state = {}
    for name, value in model.state_dict().items():
        if "pos_conv_embed" in name or name == "masked_spec_embed":
            continue
        for part, counterpart in NAMES.items():
            name = name.replace(part, counterpart)
        norm = "attention_norm" if "context.layers" in name else "norm"
        state[name.replace("layer_norm", norm)] = value
    for layer in range(LAYERS):
        for kind in ("weight", "bias"):
            stem = f"context.layers.{layer}.attention"
            state[f"{stem}.inward.{kind}"] = torch.cat(
                [state.pop(f"{stem}.{one}_proj.{kind}") for one in "qkv"]
            )
    context = TransformerConfig(
        dim=DIM, layers=LAYERS, heads=HEADS, feedforward=FEEDFORWARD, positions="none"
    )
    frontend = ConvolutionsConfig(dim=CHANNELS, norm="layer")
    encoder = Encoder(Convolutions(frontend), Transformer(context))
    encoder.load_state_dict(state)
    return encoder


@torch.no_grad()
def test_the_teachers_targets_are_those_of_the_published_network():
    model = theirs()
    encoder = ours(model)
    waveforms = pad([torch.randn(length) for length in (9000, 4000)])
    frames = encoder.frontend(waveforms)
    projected = Padded(encoder.projection(frames.values), frames.lengths)
    found = Teacher(encoder.context).targets(projected, 2)
    assert len(found) == 2
    for row, length in enumerate(frames.lengths.tolist()):
        outputs = []
        for layer in model.encoder.layers[-2:]:
            layer.feed_forward.register_forward_hook(lambda _, __, output, kept=outputs: kept.append(output))
        model(waveforms.values[row : row + 1, : waveforms.lengths[row]])
        for layer, output in zip(found, outputs, strict=True):
            expected = F.instance_norm(output.transpose(1, 2)).transpose(1, 2)[0]
            assert output.std() > 0.1
            assert (layer.values[row, :length] - expected).abs().max() < TOLERANCE
        for layer in model.encoder.layers:
            layer.feed_forward._forward_hooks.clear()
