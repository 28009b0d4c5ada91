"""What tasks share that tell one class of each clip, or one in each of several slots."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.config import ConfigError
from sonorant.data.manifest import Clip
from sonorant.evaluate.ratios import Measured, rate
from sonorant.nn.heads import UtteranceHead, scaled
from sonorant.task import HeadTask, Times

NOTHING = ""  # the class of a slot that a clip does not have
HIDDEN = 256


class Classes(HeadTask):
    """A cross-entropy a slot; a clip counts as right if all of its slots are.

    The paper's head pools the mean (`mean`); `statistics` adds the deviation and one hidden layer. A class
    that is in no training clip cannot be named, and counts as wrong.
    """

    metric = "accuracy"
    higher = True
    heads = ("mean", "statistics")

    def __init__(self, train: Sequence[Clip], times: Times) -> None:
        values = [self.slots(clip) for clip in train]
        names = sorted({name for each in values for name in each})
        self.classes = {name: sorted({each.get(name, NOTHING) for each in values}) for name in names}
        self.numbers = {
            name: {value: place for place, value in enumerate(found)} for name, found in self.classes.items()
        }
        if all(len(found) < 2 for found in self.classes.values()):
            raise ConfigError(f"{self.title}: all training clips have the same label (give several classes)")

    @classmethod
    @abstractmethod
    def slots(cls, clip: Clip) -> Mapping[str, str]:
        """The clip's class in each slot; empty where it has none."""

    @classmethod
    def takes(cls, clip: Clip) -> bool:
        return bool(cls.slots(clip))

    def head(self, name: str, dim: int, width: float) -> nn.Module:
        return UtteranceHead(
            dim,
            sum(len(found) for found in self.classes.values()),
            hidden=scaled(HIDDEN, width),
            pooling="statistics" if name == "statistics" else "mean",
            deep=name == "statistics",
        )

    def loss(self, output: Tensor, clips: Sequence[Clip]) -> tuple[Tensor, int]:
        """The cross-entropies' sum over clips and slots, and the number of clips."""
        total = output.new_zeros(())
        for name, logits in self._parted(output).items():
            numbers = self.numbers[name]
            wanted = [numbers.get(self.slots(clip).get(name, NOTHING), -1) for clip in clips]
            targets = torch.tensor(wanted, device=output.device)
            total = total + F.cross_entropy(logits, targets, reduction="sum", ignore_index=-1)
        return total, len(clips)

    def predictions(self, output: Tensor) -> list[dict[str, str]]:
        best = {name: logits.argmax(1).tolist() for name, logits in self._parted(output).items()}
        return [
            {name: self.classes[name][places[row]] for name, places in best.items()}
            for row in range(len(output))
        ]

    def score(self, clips: Sequence[Clip], predictions: Sequence[Mapping[str, str]]) -> list[Measured]:
        right = [self._right(clip, named) for clip, named in zip(clips, predictions, strict=True)]
        counted = torch.tensor(right, dtype=torch.float64)
        return [rate(self.metric, counted, torch.ones_like(counted), clips)]

    def _right(self, clip: Clip, named: Mapping[str, str]) -> bool:
        slots = self.slots(clip)
        return all(named.get(name, NOTHING) == slots.get(name, NOTHING) for name in {*slots, *named})

    def _parted(self, output: Tensor) -> dict[str, Tensor]:
        sizes = [len(found) for found in self.classes.values()]
        return dict(zip(self.classes, output.split(sizes, 1), strict=True))
