"""The convolutional front end of wav2vec 2.0."""

from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.config import Config
from sonorant.encoders.base import Frontend
from sonorant.encoders.sizes import Positive, check_long_enough
from sonorant.nn.activation import gelu
from sonorant.nn.convolution import halve, normalised_filters
from sonorant.nn.normalize import standardize
from sonorant.types import Padded

KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
Samples = TypeVar("Samples", int, Tensor)
WINDOW, STRIDE = 400, 320  # samples that a frame sees, and from one frame to the next


class ConvolutionsConfig(Config, frozen=True, kw_only=True, tag_field="name", tag="convolutions"):
    """`norm`: "group" normalises the first layer's channels over an utterance's real steps;
    "group_unmasked" counts the padding too, as the published BASE models do, so that an utterance's frames
    depend on how far it was padded; "layer" normalises every layer's steps over the channels, as LARGE.

    `gradient_scale` multiplies the gradient that reaches the convolutions (wav2vec 2.0: 0.1).
    """

    rate: Positive = 16000
    dim: Positive = 512
    norm: Literal["group", "group_unmasked", "layer"] = "group"
    normalize_waveform: bool = False
    gradient_scale: float = 1.0


class Convolutions(Frontend):
    """Seven convolutions with GELU, 400 samples wide and 320 apart, then layer normalisation.

    Baevski et al. 2020, "wav2vec 2.0", https://arxiv.org/abs/2006.11477, section 2.
    """

    def __init__(self, config: ConvolutionsConfig) -> None:
        super().__init__()
        self.config = config
        self.rate = config.rate
        self.dim = config.dim
        self.stride = STRIDE
        first = _First(config.dim, norm=config.norm)
        later = [_Layer(config.dim, kernel=kernel, norm=config.norm) for kernel in KERNELS[1:]]
        self.layers = nn.ModuleList([first, *later])
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, inputs: Padded) -> Padded:
        return self.normalize(self.convolve(inputs))

    def convolve(self, inputs: Padded) -> Padded:
        """The features, `batch time dim`, before their normalisation: what wav2vec 2.0's penalty is on."""
        check_long_enough(inputs, WINDOW)
        if self.config.normalize_waveform:
            inputs = standardize(inputs)
        frames = self.frames(inputs.values.shape[1])
        values = self.layers[0](inputs, _samples(frames))
        for layer in self.layers[1:]:
            values = layer(values)
        scale = self.config.gradient_scale
        if scale != 1 and values.requires_grad:
            values.register_hook(lambda gradient: gradient * scale)
        return Padded(values, _steps(inputs.lengths).clamp(min=0))

    def normalize(self, features: Padded) -> Padded:
        """Frames from features, zeros in the padding."""
        return Padded(self.norm(features.values), features.lengths).zeroed()

    def frames(self, samples: int) -> int:
        return max(0, _steps(samples))


def frames_and_squares(frontend: Frontend, inputs: Padded) -> tuple[Padded, Float[Tensor, " batch"]]:
    """Frames of any front end, and the mean square of each utterance's features before their normalisation,
    which wav2vec 2.0 and HuBERT penalise: zeros where features are not learned."""
    if not isinstance(frontend, Convolutions):
        frames: Padded = frontend(inputs)
        return frames, torch.zeros(len(frames.values), device=frames.values.device)
    features = frontend.convolve(inputs)
    squares = features.zeroed().values.float().square().mean(-1).sum(1)
    return frontend.normalize(features), squares / features.lengths.clamp(min=1)


def _steps(samples: Samples) -> Samples:
    """Frames of waveforms; not above 0 where there is none."""
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def _samples(frames: int) -> int:
    """The shortest waveform of so many frames on whose way every layer has an even number of steps."""
    steps = frames
    for kernel in reversed(KERNELS[1:]):
        steps = 2 * (steps + (kernel - 1) // 2)
    return (steps - 1) * STRIDES[0] + KERNELS[0]


class _First(nn.Module):
    """The convolution of the waveform, its normalisation and GELU. Weights start as in He et al. 2015."""

    def __init__(self, dim: int, *, norm: str) -> None:
        super().__init__()
        self.kind = norm
        self.conv = nn.Conv1d(1, dim, KERNELS[0], STRIDES[0], bias=norm == "layer")
        nn.init.kaiming_normal_(self.conv.weight)
        self.norm = nn.LayerNorm(dim) if norm == "layer" else nn.GroupNorm(dim, dim)

    def forward(self, inputs: Padded, samples: int) -> Float[Tensor, "batch time dim"]:
        """The steps of the first `samples` samples; there may be fewer, and zeros follow."""
        values, weight = inputs.values, self.conv.weight[:, 0]
        windows = F.pad(values, (0, samples - values.shape[1])).unfold(1, KERNELS[0], STRIDES[0])
        if self.kind == "layer":
            return gelu(self.norm(F.linear(windows, weight, self.conv.bias)))
        whole = values.unfold(1, KERNELS[0], STRIDES[0])
        counts = (inputs.lengths - KERNELS[0]).div(STRIDES[0], rounding_mode="floor") + 1
        if self.kind == "group_unmasked":
            counts = torch.full_like(counts, whole.shape[1])
        filters, offsets = normalised_filters(
            whole, counts, weight, gain=self.norm.weight, bias=self.norm.bias
        )
        # the offsets as one more filter of ones: added by themselves they would be written out first
        return gelu(torch.bmm(F.pad(windows, (0, 1), value=1.0), torch.cat([filters, offsets], dim=1)))


class _Layer(nn.Module):
    """A convolution of stride 2, perhaps a normalisation, and GELU."""

    def __init__(self, dim: int, *, kernel: int, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, kernel, 2, bias=norm == "layer")
        nn.init.kaiming_normal_(self.conv.weight)
        self.norm = nn.LayerNorm(dim) if norm == "layer" else nn.Identity()

    def forward(self, values: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch half dim"]:
        return gelu(self.norm(halve(values, self.conv.weight, self.conv.bias)))
