"""SF, slot filling: what is said, and which words of it fill which slot of an order.

In SUPERB on Audio SNIPS. The label `iob` has one tag a word of `text`: `O` outside of slots, `B-KIND` where
one begins, `I-KIND` within. CTC writes characters with a token before and behind each slot.
"""

from collections.abc import Sequence

import torch
from torch import nn

from sonorant.asr.vocabulary import BLANK, SPACE, Vocabulary
from sonorant.config import ConfigError
from sonorant.data.manifest import Clip
from sonorant.data.text import normalize
from sonorant.evaluate.ratios import Measured, rate
from sonorant.evaluate.slots import type_f1, value_errors
from sonorant.nn.heads import FrameHead, RecurrentHead, scaled
from sonorant.task import Times, label
from sonorant.tasks._sequences import Sequences

HIDDEN, LINEAR = 1024, 256
OUTSIDE = ""

Slot = tuple[str, str]  # kind, or nothing outside of slots, and the words


class Task(Sequences):
    """F1 of the kinds of slots, and the character error rate of their values. Heads are those of ASR."""

    title = "SF"
    metric = "f1"
    higher = True
    data = "a `text` and a label `iob` with a tag for each of its words"
    heads = ("recurrent", "linear")

    def __init__(self, train: Sequence[Clip], times: Times) -> None:
        self.vocabulary = Vocabulary.of(clip.text or "" for clip in train)
        self.kinds = sorted({kind for clip in train for kind, _ in stretches(clip) if kind})
        first = len(self.vocabulary)
        self.opens = {kind: first + 2 * place for place, kind in enumerate(self.kinds)}
        self.closes = {kind: number + 1 for kind, number in self.opens.items()}

    @classmethod
    def takes(cls, clip: Clip) -> bool:
        return bool(label(clip, "iob")) and bool(stretches(clip))

    def head(self, name: str, dim: int, width: float) -> nn.Module:
        outputs = len(self.vocabulary) + 2 * len(self.kinds)
        if name == "linear":
            return FrameHead(dim, outputs, hidden=scaled(LINEAR, width))
        return RecurrentHead(dim, outputs, hidden=scaled(HIDDEN, width))

    def labels(self, clip: Clip) -> list[int]:
        numbers: list[int] = []
        for kind, words in stretches(clip):
            numbers += [SPACE] if numbers else []
            written = self.vocabulary.encode(words, skip_unknown=True)
            numbers += [self.opens[kind], *written, self.closes[kind]] if kind in self.opens else written
        return numbers

    def said(self, labels: Sequence[int]) -> list[Slot]:
        """The slots that are opened; each lasts until it is closed or another one opens."""
        slots: list[Slot] = []
        opened = {number: name for name, number in self.opens.items()}
        kind, inside = OUTSIDE, list[int]()
        for number in [*labels, BLANK]:
            if BLANK < number < len(self.vocabulary):
                inside.append(number)
                continue
            if kind:
                slots.append((kind, self.vocabulary.decode(inside).strip()))
            kind, inside = opened.get(number, OUTSIDE), []
        return slots

    def score(self, clips: Sequence[Clip], predictions: Sequence[Sequence[Slot]]) -> list[Measured]:
        shares, errors = [], []
        for clip, found in zip(clips, predictions, strict=True):
            real = [(kind, words) for kind, words in stretches(clip) if kind]
            shares.append(type_f1(real, found))
            errors.append(value_errors(real, found))
        counted, totals = torch.tensor(errors, dtype=torch.float64).T
        values = torch.tensor(shares, dtype=torch.float64)
        return [rate("f1", values, torch.ones_like(values), clips), rate("cer", counted, totals, clips)]


def stretches(clip: Clip) -> list[Slot]:
    """The words of a text in stretches that fill one slot, or none. ConfigError: tags and words do not
    fit."""
    words, tags = (clip.text or "").split(), (label(clip, "iob") or "").split()
    if len(words) != len(tags):
        raise ConfigError(f"{clip.id}: iob: {len(tags)} tags for {len(words)} words (one for each word)")
    found: list[tuple[str, list[str]]] = []
    for word, tag in zip(words, tags, strict=True):
        start, _, kind = tag.partition("-")
        if start not in ("O", "B", "I") or (start == "O") == bool(kind):
            raise ConfigError(f"{clip.id}: iob: {tag!r} is neither O nor B-KIND nor I-KIND")
        if not found or start == "B" or kind != found[-1][0]:
            found.append((kind, []))
        found[-1][1].append(word)
    return [(kind, normalize(" ".join(each))) for kind, each in found if normalize(" ".join(each))]
