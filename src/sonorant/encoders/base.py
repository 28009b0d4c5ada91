"""The encoder: a front end, a projection and a context network. It is what is kept after training."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from itertools import count
from typing import TypeVar

from torch import nn

from sonorant.nn.dropout import Dropout
from sonorant.types import Hidden, Padded

FRONTEND = "frontend"
Layer = TypeVar("Layer")


class Upstream(nn.Module, ABC):
    """Whatever features are taken of: an encoder, a front end alone, or a published model."""

    longest: float = math.inf  # seconds that it takes at once

    @property
    @abstractmethod
    def sees_future(self) -> bool:
        """Whether frames are computed from audio that comes after them."""

    @abstractmethod
    def front(self) -> "Frontend":
        """Its front end, which tells the rate and what frames there are, the same in all layers."""

    @abstractmethod
    def features(self, inputs: Padded) -> dict[str, Padded]:
        """`batch samples` to each layer's `batch time dim`, by name: `frontend`, then `layer_0` and on.

        Padding changes nothing in the real steps.
        """


class Frontend(Upstream):
    """Waveforms to frames."""

    dim: int  # of a frame
    stride: int  # samples from one frame to the next
    rate: int  # samples a second of the waveforms it expects
    sees_future = False

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

    def front(self) -> "Frontend":
        return self

    def features(self, inputs: Padded) -> dict[str, Padded]:
        return {FRONTEND: self(inputs)}


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

    @property
    def depth(self) -> int:
        """The number of layers."""
        return max((len(each) for each in self.children() if isinstance(each, nn.ModuleList)), default=1)

    def below(self, layers: int) -> tuple[str, ...]:
        """The names of the parameters of the first so many layers, and of what comes before them."""

        def above(name: str) -> bool:
            part, _, rest = name.partition(".")
            each = isinstance(getattr(self, part), nn.ModuleList)
            return each and int(rest.partition(".")[0]) >= layers

        return tuple(name for name, _ in self.named_parameters() if not above(name))

    def feedforwards(self) -> tuple[nn.Module, ...]:
        """Each layer's last feed-forward block, whose output is what the layer adds to its input at the end;
        none where layers have no such block."""
        return ()


class Encoder(Upstream):
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

    @property
    def sees_future(self) -> bool:
        return not self.context.causal

    def front(self) -> Frontend:
        return self.frontend

    def features(self, inputs: Padded) -> dict[str, Padded]:
        frames = self.frontend(inputs)
        hidden = self.context(self.project(frames))
        return {FRONTEND: frames, **numbered([Padded(each, hidden.lengths) for each in hidden.layers])}


def numbered(layers: Sequence[Layer]) -> dict[str, Layer]:
    """A context's layers by name, the first one 0."""
    return {f"layer_{number}": layer for number, layer in enumerate(layers)}
