"""wav2vec 2.0, HuBERT, WavLM and data2vec-audio, as transformers saves them.

Baevski et al. 2020, https://arxiv.org/abs/2006.11477; Hsu et al. 2021, https://arxiv.org/abs/2106.07447;
Chen et al. 2022, https://arxiv.org/abs/2110.13900; Baevski et al. 2022, https://arxiv.org/abs/2202.03555.

Nothing is padded: waveforms of one length are run together, others apart. The group normalisation of base
models counts the padding, and data2vec's positional convolutions carry it into the real steps, masked or not.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from sonorant.encoders.base import FRONTEND, Frontend, Upstream, numbered
from sonorant.encoders.sizes import check_long_enough
from sonorant.nn.normalize import standardize
from sonorant.types import Padded, pad
from sonorant.upstreams import INPUT, saved

FAMILIES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")


class Wav2Vec2Frontend(Frontend):
    """The convolutions and the layer normalisation behind them, which have the model's own weights."""

    def __init__(self, model: Any, *, normalize_waveform: bool) -> None:
        super().__init__()
        self.kernels, self.strides = tuple(model.config.conv_kernel), tuple(model.config.conv_stride)
        self.rate, self.dim, self.stride = saved.RATE, model.config.conv_dim[-1], math.prod(self.strides)
        self.convolutions = model.feature_extractor
        self.norm = getattr(model.feature_projection, "layer_norm", nn.Identity())  # HuBERT's may have none
        self.normalize_waveform = normalize_waveform

    def frames(self, samples: int) -> int:
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            samples = (samples - kernel) // stride + 1
        return max(0, samples)

    def forward(self, inputs: Padded) -> Padded:
        return unpadded(self._frames, self.prepare(inputs))[FRONTEND]

    def prepare(self, inputs: Padded) -> Padded:
        """Waveforms as the model was trained on them."""
        check_long_enough(inputs, self.window)
        return standardize(inputs) if self.normalize_waveform else inputs

    def _frames(self, waves: Float[Tensor, "batch samples"]) -> dict[str, Tensor]:
        return {FRONTEND: self.norm(self.convolutions(waves).transpose(1, 2))}


class Wav2Vec2(Upstream):
    """Layers: `frontend`, the normalised convolutions; `input`, what the first block is given; `layer_0` and
    on, the blocks' outputs, the last one behind the final normalisation where there is one."""

    sees_future = True

    def __init__(self, model: Any, *, normalize_waveform: bool) -> None:
        super().__init__()
        model.adapter = None  # which shortens what comes last
        self.model = model
        self.frontend = Wav2Vec2Frontend(model, normalize_waveform=normalize_waveform)
        _protect(model)

    def front(self) -> Frontend:
        return self.frontend

    def features(self, inputs: Padded) -> dict[str, Padded]:
        return unpadded(self._layers, self.frontend.prepare(inputs))

    def _layers(self, waves: Float[Tensor, "batch samples"]) -> dict[str, Tensor]:
        frames = list[Tensor]()
        projection = self.model.feature_projection.projection
        with projection.register_forward_pre_hook(lambda _, given: frames.append(given[0])):
            output = self.model(waves, output_hidden_states=True)
        first, *blocks = output.hidden_states
        # transformers 5 has the last one before the final normalisation here, 4 behind it
        blocks[-1] = output.last_hidden_state
        return {FRONTEND: frames[0], INPUT: first, **numbered(blocks)}


def load(folder: Path, *, untrained: bool = False) -> Wav2Vec2:
    """The model of a folder. ConfigError: see `saved.model`."""
    told, model = saved.preprocessing(folder), saved.model(folder, untrained=untrained)
    # where it is not said: as the published models with this front end were trained
    layer_norm = getattr(model.config, "feat_extract_norm", "layer") == "layer"
    return Wav2Vec2(model, normalize_waveform=told.get("do_normalize", layer_norm))


def unpadded(
    encode: Callable[[Float[Tensor, "batch samples"]], dict[str, Tensor]], inputs: Padded
) -> dict[str, Padded]:
    """What `encode` gives for waveforms of one length, of waveforms of all lengths."""
    rows = list[dict[str, Tensor]]([{}] * len(inputs.lengths))
    for length in inputs.lengths.unique().tolist():
        places = (inputs.lengths == length).nonzero()[:, 0].tolist()
        layers = encode(inputs.values[places, :length])
        for row, place in enumerate(places):
            rows[place] = {name: values[row] for name, values in layers.items()}
    device = inputs.values.device
    return {name: pad([row[name] for row in rows]).to(device) for name in rows[0]}


class _InSinglePrecision(nn.Module):
    """A part that autocast leaves alone."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, values: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time dim"]:
        with torch.autocast(values.device.type, enabled=False):
            outputs: Tensor = self.part(values.float())
        return outputs


def _protect(model: Any) -> None:
    """Keeps what lower precisions would break from them.

    WavLM's attention takes the weights of its linear layers and never calls them. oneDNN's sums in bfloat16
    are wrong in convolutions with groups narrower than 16 (pytorch/pytorch#163347), which no published
    model has.
    """
    for module in model.modules():
        if hasattr(module, "gru_rel_pos_linear"):
            for layer in (module.q_proj, module.k_proj, module.v_proj, module.out_proj):
                layer.__class__ = NonDynamicallyQuantizableLinear
    if model.config.hidden_size < 16 * model.config.num_conv_pos_embedding_groups:
        model.encoder.pos_conv_embed = _InSinglePrecision(model.encoder.pos_conv_embed)
