"""The values that flow from audio to loss."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

Kind = Literal["paired", "speech", "text"]
"""Transcribed speech, speech with the labels of a recogniser, and synthetic audio of text."""


@dataclass(frozen=True)
class Padded:
    """Sequences of different lengths, padded at the end; `lengths` counts each one's real steps."""

    values: Shaped[Tensor, "batch time *rest"]
    lengths: Int[Tensor, " batch"]

    @property
    def mask(self) -> Bool[Tensor, "batch time"]:
        """True on real steps."""
        steps = torch.arange(self.values.shape[1], device=self.values.device)
        return steps < self.lengths[:, None]

    def zeroed(self) -> "Padded":
        """The same sequences with zeros in the padding, whatever stood there."""
        mask = self.mask.view(*self.values.shape[:2], *[1] * (self.values.dim() - 2))
        return Padded(self.values.masked_fill(~mask, 0), self.lengths)

    def to(self, device: torch.device | str) -> "Padded":
        return Padded(self.values.to(device, non_blocking=True), self.lengths.to(device, non_blocking=True))


def pad(sequences: Sequence[Shaped[Tensor, "_ *rest"]]) -> Padded:
    """Sequences side by side, zeros behind the shorter ones."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return Padded(torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), lengths)


@dataclass(frozen=True)
class Batch:
    """Utterances on their way into an objective.

    `seeds` holds one number an utterance, a function of (run seed, epoch, utterance) alone: whatever is
    drawn for an utterance is drawn from its own generator, so neither its neighbours in the batch nor
    workers, ranks or a resumed run change what it meets.
    """

    inputs: Padded  # waveforms: batch time
    seeds: tuple[int, ...]
    labels: Padded | None = None  # batch labels, for the supervised objectives
    ids: tuple[str, ...] = ()
    weights: Float[Tensor, "batch labels"] | None = None  # of the labels; 0: hidden, as if it were not known
    kind: Kind | None = None  # in training on several kinds of data

    @property
    def seed(self) -> int:
        """One number for what the batch draws as a whole, such as dropout."""
        digest = hashlib.blake2b(repr(self.seeds).encode(), digest_size=7).digest()
        return int.from_bytes(digest, "big")

    def draw(self, what: str) -> float:
        """A number from 0 to 1 for one choice of the batch as a whole."""
        digest = hashlib.blake2b(repr((what, self.seeds)).encode(), digest_size=6).digest()
        return int.from_bytes(digest, "big") / (1 << 48)

    def generators(self) -> tuple[torch.Generator, ...]:
        """A fresh CPU generator for each utterance."""
        return tuple(torch.Generator().manual_seed(seed) for seed in self.seeds)

    def to(self, device: torch.device | str) -> "Batch":
        labels = None if self.labels is None else self.labels.to(device)
        weights = None if self.weights is None else self.weights.to(device)
        return replace(self, inputs=self.inputs.to(device), labels=labels, weights=weights)


@dataclass(frozen=True)
class Hidden:
    """What a context network computed: the output of every layer, first to last."""

    layers: tuple[Float[Tensor, "batch time dim"], ...]
    lengths: Int[Tensor, " batch"]

    @property
    def last(self) -> Padded:
        return Padded(self.layers[-1], self.lengths)


@dataclass(frozen=True)
class Loss:
    """A sum over targets and their number: the one division happens in the training loop, over all ranks
    and accumulated batches. `metrics` are health figures of this batch, already means."""

    total: Float[Tensor, ""]
    count: Int[Tensor, ""]
    metrics: Mapping[str, Float[Tensor, ""]]
