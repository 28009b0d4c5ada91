"""The context network that is none: each frame stays by itself."""

from torch.nn import functional as F

from sonorant.config import Config
from sonorant.encoders.base import Context
from sonorant.encoders.sizes import Positive
from sonorant.types import Hidden, Padded


class PointwiseConfig(Config, frozen=True, kw_only=True, tag_field="name", tag="pointwise"):
    """PASE's embedding has a `dim` of 100."""

    dim: Positive = 100

    @property
    def layers(self) -> int:
        return 1


class Pointwise(Context):
    """The projected frames, normalised over the channels of a step, without gains.

    The end of PASE's first version (Pascual et al. 2019, https://arxiv.org/abs/1904.03416), whose last layer
    is the encoder's projection; the paper normalises over the batch.
    """

    def __init__(self, config: PointwiseConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim
        self.causal = True

    def forward(self, frames: Padded) -> Hidden:
        return Hidden((F.layer_norm(frames.values.float(), (self.dim,)),), frames.lengths)
