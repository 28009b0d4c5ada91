"""The contract between a method and everything that trains it.

An objective is what is thrown away: heads, quantisers, mask embeddings, queues and teachers live in it. The
encoder inside it is what is kept. Adding a method adds one file to `objectives/`: it defines `Config`, a
subclass of `ObjectiveConfig`, and is found by its file name.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sonorant.config import Config, ConfigError, convert
from sonorant.encoders.base import Encoder
from sonorant.health import Sign
from sonorant.types import Batch, Loss


class Objective(nn.Module, ABC):
    """A loss over batches of utterances, with the encoder that it trains.

    All state that training changes is a parameter or a buffer, and all randomness of an utterance comes
    from its own generator (`batch.generators()`), so that resuming is bitwise.
    """

    couples_utterances: bool = False
    """Whether an utterance's loss depends on its neighbours (batch statistics, negatives of others)."""
    prepare_hours: float | None = None
    """How much audio `prepare` is shown, at most one epoch; None: a few batches."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    @abstractmethod
    def forward(self, batch: Batch) -> Loss:
        """The loss of a batch: the sum over its targets, their number, and health figures."""

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Called once before the first update, with some batches: what is fitted to data (axes, clusters).
        It stays in buffers. The batches can be gone through more than once, and are made anew each time."""

    def signs(self) -> Sequence[Sign]:
        """What among its metrics shows that it has collapsed. What the encoder itself shows is watched for
        every objective."""
        return ()

    def statistics(self) -> Sequence[Tensor]:
        """Buffers in single precision that `forward` adds to in training, for `after_step` to use: set to
        zero before a step, and summed over all ranks behind it, so that all do the same."""
        return ()

    def after_step(self, step: int) -> None:
        """Called after the optimizer's update number `step` (from 1): teachers, queues, temperatures."""


class ObjectiveConfig(Config, frozen=True, kw_only=True):
    """The settings of one objective."""

    def build(self, encoder: Encoder) -> Objective:
        """The objective around an encoder. ValueError: the encoder does not fit."""
        # a Struct's metaclass is not that of abstract classes
        raise NotImplementedError(type(self).__name__)

    def taught_by(self) -> str | None:
        """The run or checkpoint whose encoder teaches, if there is one."""
        return None

    def build_with(self, encoder: Encoder, teacher: Encoder) -> Objective:
        """The objective around an encoder, with the one of `taught_by`. ValueError: they do not fit."""
        raise NotImplementedError(type(self).__name__)


def names() -> tuple[str, ...]:
    """The objectives that there are: the files of `objectives/`."""
    folder = Path(__file__).parent / "objectives"
    return tuple(sorted(module.name for module in pkgutil.iter_modules([str(folder)])))


def objective_config(settings: Mapping[str, Any]) -> ObjectiveConfig:
    """`{name: apc, shift: 3}` as the settings of that objective."""
    rest = dict(settings)
    name = rest.pop("name", None)
    if name not in names():
        raise ConfigError(f"objective.name: {name!r} is not one of {', '.join(names())}")
    module = importlib.import_module(f"sonorant.objectives.{name}")
    config: type[ObjectiveConfig] = module.Config
    return convert(rest, config, path="objective")
