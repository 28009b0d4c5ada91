"""The encoder: a front end, a projection and a context network. It is what is kept after training."""

from abc import ABC, abstractmethod
from functools import cached_property
from itertools import count

from torch import nn

from sonorant.nn.dropout import Dropout
from sonorant.types import Hidden, Padded


class Frontend(nn.Module, ABC):
    """Waveforms to frames."""

    dim: int  # of a frame
    stride: int  # samples from one frame to the next
    rate: int  # samples a second of the waveforms it expects

    @abstractmethod
    def forward(self, inputs: Padded) -> Padded:
        """`batch samples` to `batch time dim`, zeros in the padding."""

    @abstractmethod
    def frames(self, samples: int) -> int:
        """The number of frames of a waveform with so many samples."""

    @cached_property
    def window(self) -> int:
        """The samples that a frame sees: the fewest that give one. The middle of frame j lies at
        `window / 2 + j * stride`."""
        return next(samples for samples in count(1) if self.frames(samples) > 0)


class Context(nn.Module, ABC):
    """Frames to contextual frames of the same number."""

    dim: int
    causal: bool  # whether step t sees only steps up to t

    @abstractmethod
    def forward(self, frames: Padded) -> Hidden:
        """`batch time dim` to every layer's `batch time dim`. Padding changes nothing in the real steps."""

    def blocks(self) -> tuple[nn.Module, ...]:
        """The modules that every forward pass calls, one after the other; none where that is not so. They
        are what `train.shard` keeps in slices."""
        return ()

    def feedforwards(self) -> tuple[nn.Module, ...]:
        """Each layer's last feed-forward block, whose output is what the layer adds to its input at the end;
        none where layers have no such block."""
        return ()


class Encoder(nn.Module):
    """`frontend`, then `project` to the context's width, then `context`.

    Objectives that mask or quantise act between the parts: on frames before `project` (BEST-RQ) or behind it
    (wav2vec 2.0's mask embedding).
    """

    def __init__(self, frontend: Frontend, context: Context, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.frontend = frontend
        self.projection = nn.Linear(frontend.dim, context.dim)
        self.dropout = Dropout(dropout)
        self.context = context

    def project(self, frames: Padded) -> Padded:
        return Padded(self.dropout(self.projection(frames.values)), frames.lengths)

    def forward(self, inputs: Padded) -> Hidden:
        hidden: Hidden = self.context(self.project(self.frontend(inputs)))
        return hidden
