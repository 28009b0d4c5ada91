"""What every figure rests on: the utterances it is fitted and measured on, their frames, and its interval."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

GROUPS, STUDENT = 20, 2.093  # of utterances; the 97.5 % point of Student's t with 19 degrees of freedom


class SamplingError(ValueError):
    """Too few utterances, speakers or frames for a figure that means something."""


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval over utterances, if there are enough for one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Parts:
    """The ids of the utterances to fit on, to choose and stop on, and to measure on."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        ids = self.train + self.validation + self.test
        if len(set(ids)) < len(ids):
            twice = next(name for place, name in enumerate(ids) if name in ids[:place])
            raise SamplingError(f"{twice}: stands in two parts (fit and measure on different utterances)")

    def shares(self, limit: int) -> tuple[tuple[tuple[str, ...], int], ...]:
        """Each part with the frames that are used of it at most; validation needs fewer."""
        return (self.train, limit), (self.validation, max(1, limit // 8)), (self.test, limit)


def split(
    ids: Sequence[str],
    *,
    groups: Mapping[str, str] | None = None,
    validation: float = 0.1,
    test: float = 0.2,
) -> Parts:
    """Utterances in three parts by a hash of their ids, so that order and seeds do not matter.

    With `groups` (id to speaker) the hash is the speaker's and no speaker stands in two parts. In the order
    of their hashes, groups fill the test part, then the validation part, to at least their shares of the
    utterances and at least two each. SamplingError: the training part gets fewer than two.
    """
    members: dict[str, list[str]] = {}
    for name in ids:
        members.setdefault(name if groups is None else groups[name], []).append(name)
    parts: list[list[str]] = [[], [], []]
    shares = [max(2, test * len(ids)), max(2, validation * len(ids))]
    part = 0
    for group in sorted(members, key=lambda group: hashlib.blake2b(group.encode()).digest()):
        while part < 2 and len(parts[part]) >= shares[part]:
            part += 1
        parts[part].extend(members[group])
    if len(parts[2]) < 2:
        raise SamplingError(
            f"{len(ids)} utterances of {len(members)} groups do not fill three parts with two "
            "utterances each (give more of them, or split by utterance instead of by speaker)"
        )
    return Parts(train=tuple(parts[2]), validation=tuple(parts[1]), test=tuple(parts[0]))


def partners(utterances: Int[Tensor, " n"], generator: torch.Generator) -> Int[Tensor, " n"]:
    """For each frame a random one of another utterance; those of an utterance stand together."""
    _, sizes = utterances.unique_consecutive(return_counts=True)
    if len(sizes) < 2:
        raise SamplingError("one utterance: pairs from different utterances need two (give more of them)")
    ends = sizes.cumsum(0).repeat_interleave(sizes)
    others = len(utterances) - sizes.repeat_interleave(sizes)
    draws = torch.rand(len(utterances), generator=generator, dtype=torch.float64)
    return torch.remainder(ends + (draws * others).long(), len(utterances))


@dataclass(frozen=True)
class Examples:
    """Frames with the label to tell from each; frames of an utterance stand together, numbered ascending."""

    frames: Float[Tensor, "n dim"]
    labels: Int[Tensor, " n"]
    utterances: Int[Tensor, " n"]

    def shuffled(self, generator: torch.Generator) -> "Examples":
        """The same frames, each with the label of a random frame of another utterance."""
        return replace(self, labels=self.labels[partners(self.utterances, generator)])


@dataclass(frozen=True)
class Sections:
    """Examples of different utterances: to fit on, to choose and stop on, and to measure on."""

    train: Examples
    validation: Examples
    test: Examples
    places: Float[Tensor, "classes rank"] | None = None  # where each class lies, if classes are clusters

    @property
    def classes(self) -> int:
        """One more than the largest label."""
        return 1 + max(int(part.labels.max()) for part in (self.train, self.validation, self.test))

    def shuffled(self, generator: torch.Generator) -> "Sections":
        return Sections(
            self.train.shuffled(generator),
            self.validation.shuffled(generator),
            self.test.shuffled(generator),
            self.places,
        )


def choose(sizes: Sequence[int], limit: int, *, seed: int) -> list[Int[Tensor, " n"]]:
    """Indices of at most `limit` frames of utterances with so many frames, drawn without replacement.

    The draw depends on nothing but sizes, limit and seed: layers and models are measured on the same frames.
    """
    total = sum(sizes)
    chosen = torch.zeros(total, dtype=torch.bool)
    chosen[torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:limit]] = True
    return [keep.nonzero()[:, 0] for keep in chosen.split(list(sizes))]


@dataclass(frozen=True)
class Sample:
    """Random frames, utterance by utterance: their places in each."""

    places: dict[str, Int[Tensor, " _"]]

    @property
    def owners(self) -> Int[Tensor, " n"]:
        """The number of each frame's utterance."""
        sizes = torch.tensor([len(places) for places in self.places.values()])
        return torch.arange(len(sizes)).repeat_interleave(sizes)


def sample(sizes: Mapping[str, int], ids: Sequence[str], *, limit: int, seed: int) -> Sample:
    """At most `limit` frames of these utterances, which have so many.

    SamplingError: an id is not there, or no utterance has a frame.
    """
    missing = [name for name in ids if name not in sizes]
    if missing:
        raise SamplingError(f"{missing[0]}: no features or no labels (check the ids, or leave it out)")
    counts = [sizes[name] for name in ids]
    if not any(counts):
        raise SamplingError(
            f"{len(ids)} utterances without a usable frame (a smaller gap, or longer utterances)"
        )
    return Sample(dict(zip(ids, choose(counts, limit, seed=seed), strict=True)))


def resamples(utterances: int, *, seed: int, replicates: int = 1000) -> Float[Tensor, "replicates n"]:
    """How often each utterance comes in each bootstrap sample of them."""
    if utterances < 2:
        raise SamplingError(f"{utterances} utterances to measure on: an interval over utterances needs two")
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(utterances, (replicates, utterances), generator=generator)
    counts = torch.zeros(replicates, utterances, dtype=torch.float64)
    return counts.scatter_add_(1, draws, torch.ones_like(counts))


def interval(values: Float[Tensor, " replicates"]) -> tuple[float, float]:
    """The middle 95 % of bootstrap replicates."""
    low, high = values.quantile(torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return low, high


def jackknife(left_out: Sequence[float]) -> float:
    """Half the width of a 95 % interval, from a figure without each of `GROUPS` groups of utterances."""
    values = torch.tensor(left_out, dtype=torch.float64)
    variance = (len(values) - 1) * values.var(correction=0)
    return STUDENT * float(variance.sqrt())
