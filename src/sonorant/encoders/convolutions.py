"""The convolutional front end of wav2vec 2.0."""

from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.config import Config
from sonorant.encoders.base import Frontend
from sonorant.encoders.sizes import Positive, check_long_enough
from sonorant.nn.normalize import masked_instance_norm, standardize
from sonorant.types import Padded

KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
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
        widths = (1, *[config.dim] * (len(KERNELS) - 1))
        later = "layer" if config.norm == "layer" else "none"
        norms = (config.norm, *[later] * (len(KERNELS) - 1))
        self.layers = nn.ModuleList(
            _Layer(width, config.dim, kernel=kernel, stride=stride, norm=norm)
            for width, kernel, stride, norm in zip(widths, KERNELS, STRIDES, norms, strict=True)
        )
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, inputs: Padded) -> Padded:
        return self.normalize(self.convolve(inputs))

    def convolve(self, inputs: Padded) -> Padded:
        """The features, `batch time dim`, before their normalisation: what wav2vec 2.0's penalty is on."""
        check_long_enough(inputs, WINDOW)
        if self.config.normalize_waveform:
            inputs = standardize(inputs)
        values, lengths = inputs.values[:, None], inputs.lengths
        for layer in self.layers:
            values, lengths = layer(values, lengths)
        scale = self.config.gradient_scale
        if scale != 1 and values.requires_grad:
            values.register_hook(lambda gradient: gradient * scale)
        return Padded(values.transpose(1, 2), lengths)

    def normalize(self, features: Padded) -> Padded:
        """Frames from features, zeros in the padding."""
        return Padded(self.norm(features.values), features.lengths).zeroed()

    def frames(self, samples: int) -> int:
        for kernel, stride in zip(KERNELS, STRIDES, strict=True):
            samples = max(0, (samples - kernel) // stride + 1)
        return samples


class _Layer(nn.Module):
    """One convolution, its normalisation and GELU. Weights start as He et al. 2015 have it."""

    def __init__(
        self,
        inward: int,
        outward: int,
        *,
        kernel: int,
        stride: int,
        norm: str,
    ) -> None:
        super().__init__()
        self.kind = norm
        self.conv = nn.Conv1d(inward, outward, kernel, stride, bias=norm == "layer")
        nn.init.kaiming_normal_(self.conv.weight)
        if norm != "none":
            self.norm = nn.GroupNorm(outward, outward) if norm != "layer" else nn.LayerNorm(outward)

    def forward(
        self, values: Float[Tensor, "batch inward samples"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch outward time"], Int[Tensor, " batch"]]:
        values = self.conv(values)
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        lengths = (lengths - kernel).div(stride, rounding_mode="floor") + 1
        if self.kind == "group":
            values = masked_instance_norm(values, lengths, weight=self.norm.weight, bias=self.norm.bias)
        elif self.kind == "group_unmasked":
            values = self.norm(values)
        elif self.kind == "layer":
            values = self.norm(values.transpose(1, 2)).transpose(1, 2)
        return F.gelu(values), lengths
