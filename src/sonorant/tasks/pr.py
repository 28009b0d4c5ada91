"""PR, phone recognition: which phones are spoken, in their order.

In SUPERB on LibriSpeech's 100 hours with a lexicon; here the clips' `units` name the phones (their times are
not used; `sonorant align` makes them of English text). Pauses are no phones.
"""

from collections.abc import Sequence

from torch import nn

from sonorant.data.manifest import Clip
from sonorant.evaluate.items import PAUSES
from sonorant.evaluate.ratios import Measured, rate
from sonorant.evaluate.wer import word_errors
from sonorant.nn.heads import FrameHead, scaled
from sonorant.task import Times
from sonorant.tasks._sequences import Sequences

HIDDEN = 256


class Task(Sequences):
    """Phone error rate. The paper's head is linear; `mlp` has ReLU between its two layers."""

    title = "PR"
    metric = "per"
    data = "phones as `units`"
    heads = ("linear", "mlp")

    def __init__(self, train: Sequence[Clip], times: Times) -> None:
        self.names = sorted({phone for clip in train for phone in phones(clip)})
        self.numbers = {name: number for number, name in enumerate(self.names, start=1)}

    @classmethod
    def takes(cls, clip: Clip) -> bool:
        return bool(phones(clip))

    def head(self, name: str, dim: int, width: float) -> nn.Module:
        return FrameHead(dim, len(self.names) + 1, hidden=scaled(HIDDEN, width), deep=name == "mlp")

    def labels(self, clip: Clip) -> list[int]:
        return [self.numbers[phone] for phone in phones(clip) if phone in self.numbers]

    def said(self, labels: Sequence[int]) -> str:
        return " ".join(self.names[number - 1] for number in labels)

    def score(self, clips: Sequence[Clip], predictions: Sequence[str]) -> list[Measured]:
        pairs = [(" ".join(phones(clip)), said) for clip, said in zip(clips, predictions, strict=True)]
        return [rate(self.metric, *word_errors(pairs), clips)]


def phones(clip: Clip) -> list[str]:
    """What is spoken, in the order of its starts."""
    ordered = sorted(clip.units or (), key=lambda unit: unit[1])
    return ["_".join(name.split()) for name, _, _ in ordered if name.upper() not in PAUSES]
