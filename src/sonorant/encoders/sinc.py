"""The front end of PASE: SincNet's filters and seven blocks of convolutions."""

from itertools import accumulate
from operator import mul

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.config import Config, ConfigError
from sonorant.encoders.base import Frontend
from sonorant.encoders.sizes import Positive, check_divides, check_long_enough
from sonorant.nn.prelu import PReLU
from sonorant.nn.sinc import SincFilters
from sonorant.types import Padded

KERNELS = (20, 11, 11, 11, 11, 11, 11)
STRIDES = (10, 2, 1, 2, 1, 2, 2)
WIDTHS = (1, 1, 2, 2, 4, 4, 8, 8)  # of the filters and of each block, in eighths of `dim`
STRIDE = 160  # samples from one frame to the next
EPSILON = 1e-5  # of the variance
_PLACES = (1, *accumulate(STRIDES, mul))  # samples from one step to the next, in each layer


class SincConfig(Config, frozen=True, kw_only=True, tag_field="name", tag="sinc"):
    """There are `dim` / 8 filters of `taps` samples. With `skips` every block reaches the frames, as in
    PASE+."""

    rate: Positive = 16000
    dim: Positive = 512
    taps: Positive = 251
    skips: bool = False

    def __post_init__(self) -> None:
        check_divides("eighths:", 8, "dim", self.dim)
        if self.taps % 2 == 0:
            raise ConfigError(f"taps {self.taps} must be odd, to be centred on a sample")


class Sinc(Frontend):
    """A frame for each 160 samples, from 1185 samples on either side of its middle.

    Pascual et al. 2019, "Learning Problem-agnostic Speech Representations from Multiple Self-supervised
    Tasks", https://arxiv.org/abs/1904.03416, section 2.1. With `skips` also Ravanelli et al. 2020,
    https://arxiv.org/abs/2001.09239, section 3.2: every block's output, averaged over what belongs to a
    frame and through a matrix of its own, is added to the frame. Sizes are those of the authors' code,
    https://github.com/santi-pdp/pase.

    Deviations: channels are normalised over an utterance's own steps instead of the batch's, which would let
    padding and neighbours change its frames (a normalisation over channels would take away how loud a step
    is, which workers are asked for); convolutions see zeros beyond the ends; what is left over of an
    utterance behind its last whole 160 samples is dropped; PASE+ adds the skips behind its recurrent layer:
    here they reach that layer too, and get past it with `residual`.
    """

    def __init__(self, config: SincConfig) -> None:
        super().__init__()
        self.config = config
        self.rate, self.dim, self.stride = config.rate, config.dim, STRIDE
        widths = [config.dim // 8 * width for width in WIDTHS]
        self.filters = SincFilters(widths[0], taps=config.taps, rate=config.rate)
        self.first = _Normalised(widths[0])
        self.blocks = nn.ModuleList(
            _Block(inward, outward, kernel=kernel, stride=stride)
            for inward, outward, kernel, stride in zip(widths[:-1], widths[1:], KERNELS, STRIDES, strict=True)
        )
        skipped = widths[:-1] if config.skips else []
        self.skips = nn.ModuleList(nn.Linear(width, config.dim, bias=False) for width in skipped)

    def forward(self, inputs: Padded) -> Padded:
        check_long_enough(inputs, STRIDE)
        frames, lengths = self.frames(inputs.values.shape[1]), inputs.lengths // STRIDE
        waves = Padded(inputs.values[:, : frames * STRIDE], lengths * STRIDE).zeroed()
        outputs = [self.first(Padded(self.filters(waves.values), waves.lengths))]
        for block, place in zip(self.blocks, _PLACES[1:], strict=True):
            outputs.append(block(outputs[-1], lengths * (STRIDE // place)))
        values = outputs[-1]
        for skip, output in zip(self.skips, outputs, strict=False):  # the last one is the frame itself
            values = values + skip(output.unflatten(1, (frames, -1)).mean(2))
        return Padded(values, lengths)

    def frames(self, samples: int) -> int:
        return samples // STRIDE


class _Block(nn.Module):
    """A convolution with zeros beyond the ends, which divides the number of steps by its stride."""

    def __init__(self, inward: int, outward: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inward, outward, kernel, stride, padding=(kernel - stride + 1) // 2, bias=False)
        nn.init.kaiming_normal_(self.conv.weight)
        self.normalised = _Normalised(outward)

    def forward(
        self, values: Float[Tensor, "batch time inward"], lengths: Tensor
    ) -> Float[Tensor, "batch fewer outward"]:
        # as an image one pixel high, channels last: nothing is copied
        weight = self.conv.weight[:, :, None].contiguous(memory_format=torch.channels_last)
        image = F.conv2d(
            values.transpose(1, 2)[:, :, None],
            weight,
            stride=(1, *self.conv.stride),
            padding=(0, int(self.conv.padding[0])),
        )
        outputs: Tensor = self.normalised(Padded(image[:, :, 0].transpose(1, 2), lengths))
        return outputs


class _Normalised(nn.Module):
    """Each channel with zero mean and unit variance over an utterance's real steps, times a gain, plus a
    bias, and PReLU; zeros in the padding."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.activation = PReLU(dim)

    def forward(self, steps: Padded) -> Float[Tensor, "batch time dim"]:
        values = steps.zeroed().values.float()
        number = steps.lengths[:, None, None]
        mean = values.sum(1, keepdim=True) / number
        variance = values.square().sum(1, keepdim=True) / number - mean.square()
        scale = self.gain * (variance.clamp(min=0) + EPSILON).rsqrt()
        active = self.activation(torch.addcmul(self.bias - mean * scale, values, scale))
        return Padded(active, steps.lengths).zeroed().values
