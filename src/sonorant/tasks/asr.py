"""ASR, speech recognition: what is said, in characters.

In SUPERB on LibriSpeech's 100 hours, decoded greedily (and with a language model, which is left out here).
Texts are compared as letters, digits and apostrophes in lower case.
"""

from collections.abc import Sequence

from torch import nn

from sonorant.asr.vocabulary import Vocabulary
from sonorant.data.manifest import Clip
from sonorant.data.text import normalize
from sonorant.evaluate.ratios import Measured, rate
from sonorant.evaluate.wer import character_errors, word_errors
from sonorant.nn.heads import FrameHead, RecurrentHead, scaled
from sonorant.task import Times
from sonorant.tasks._sequences import Sequences

HIDDEN, LINEAR = 1024, 256


class Task(Sequences):
    """Word error rate, and that of characters. The paper's head has two bidirectional LSTMs; `linear` has
    none: what a frame does not show itself, it cannot use."""

    title = "ASR"
    metric = "wer"
    data = "a `text`"
    heads = ("recurrent", "linear")

    def __init__(self, train: Sequence[Clip], times: Times) -> None:
        self.vocabulary = Vocabulary.of(clip.text or "" for clip in train)

    @classmethod
    def takes(cls, clip: Clip) -> bool:
        return bool(normalize(clip.text or ""))

    def head(self, name: str, dim: int, width: float) -> nn.Module:
        if name == "linear":
            return FrameHead(dim, len(self.vocabulary), hidden=scaled(LINEAR, width))
        return RecurrentHead(dim, len(self.vocabulary), hidden=scaled(HIDDEN, width))

    def labels(self, clip: Clip) -> list[int]:
        return self.vocabulary.labels(clip, skip_unknown=True)

    def said(self, labels: Sequence[int]) -> str:
        return self.vocabulary.decode(labels).strip()

    def score(self, clips: Sequence[Clip], predictions: Sequence[str]) -> list[Measured]:
        pairs = [(normalize(clip.text or ""), said) for clip, said in zip(clips, predictions, strict=True)]
        return [rate("wer", *word_errors(pairs), clips), rate("cer", *character_errors(pairs), clips)]
