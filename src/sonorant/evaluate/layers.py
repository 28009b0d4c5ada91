"""Layers of two stores as the measures see them: passes over batches of paired frames, and a jackknife."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from jaxtyping import Float
from torch import Tensor

from sonorant.evaluate.alike import Alone, from_moments, from_sample, in_memory, rotation, together
from sonorant.evaluate.moments import Moments, moments
from sonorant.evaluate.pairs import Pairs
from sonorant.evaluate.sampling import GROUPS, Sample, SamplingError, jackknife

Values = dict[str, float]  # of each measure


@dataclass(frozen=True)
class Layer:
    """A layer of the first (0) or second (1) store."""

    side: int
    name: str
    frames: Float[Tensor, "n dim"]  # the sampled ones
    origin: Float[Tensor, " dim"]  # from which moments are counted
    own: Moments  # with itself
    alone: Alone


@dataclass(frozen=True)
class Setting:
    """What is compared, by which measures, on which frames."""

    pairs: Pairs
    sample: Sample
    measures: tuple[str, ...]
    seed: int

    def layer(self, side: int, name: str) -> Layer:
        """A layer and what the measures need of it. SamplingError: it does not vary, or has too few."""
        frames = self.pairs.read_sample(side, name, self.sample)
        origin = frames.double().mean(0)
        own = self._own(side, name, origin, self.pairs.ids)
        try:
            sampled = from_sample(frames, self.sample.owners, self.measures)
            alone = from_moments(own, self.measures, sampled=sampled)
            together(alone, alone, own, self.measures)
        except ValueError as error:
            raise SamplingError(f"{self.pairs.stores[side].path}: {name}: {error}") from error
        return Layer(side, name, frames, origin, own, alone)

    def against(self, layer: Layer, others: Sequence[Layer], *, shifted: bool = False) -> list[Values]:
        """Each measure of a layer with others; `shifted`: with frames half a batch away from theirs."""
        alone, half = layer.alone, len(layer.frames) // 2
        if shifted:
            alone = alone.only(torch.arange(len(layer.frames)).roll(half))
        sums = self._across(layer, others, self.pairs.ids, shifted=shifted)
        return [
            together(alone, other.alone, each, self.measures)
            for other, each in zip(others, sums, strict=True)
        ]

    def controls(self, layer: Layer) -> tuple[Values, Values]:
        """The layer against itself, and its sampled frames against a rotation of them: both have to be 1."""
        turned = layer.frames.double() @ rotation(layer.frames.shape[1], seed=self.seed)
        return (
            together(layer.alone, layer.alone, layer.own, self.measures),
            in_memory(layer.frames, turned, self.sample.owners, self.measures),
        )

    def errors(self, layer: Layer, others: Mapping[int, Layer]) -> dict[int, Values]:
        """Half the width of 95 % intervals, from leaving out each of `GROUPS` groups of utterances."""
        groups = [self.pairs.ids[group::GROUPS] for group in range(GROUPS)]
        targets = list(others.values())
        crosses = [self._across(layer, targets, group) for group in groups]
        totals = [reduce(add, parts) for parts in zip(*crosses, strict=True)]
        left_out: list[list[Values]] = []
        for group, parts in zip(groups, crosses, strict=True):
            first, *seconds = (self._without(each, group) for each in (layer, *targets))
            left_out.append(
                [
                    together(first, second, total - part, self.measures)
                    for second, total, part in zip(seconds, totals, parts, strict=True)
                ]
            )
        return {
            place: {
                measure: jackknife([each[number][measure] for each in left_out]) for measure in self.measures
            }
            for number, place in enumerate(others)
        }

    def _without(self, layer: Layer, group: Sequence[str]) -> Alone:
        """A layer without some utterances."""
        gone = set(group)
        stays = torch.tensor([name not in gone for name in self.sample.places])
        kept = stays[self.sample.owners].nonzero()[:, 0]
        rest = layer.own - self._own(layer.side, layer.name, layer.origin, group)
        return from_moments(rest, self.measures, sampled=layer.alone.only(kept))

    def _own(self, side: int, name: str, origin: Float[Tensor, " dim"], ids: Sequence[str]) -> Moments:
        batches = (self.pairs.read(side, name, batch).double() - origin for batch in self.pairs.batches(ids))
        return reduce(add, (moments(frames, frames) for frames in batches))

    def _across(
        self, layer: Layer, others: Sequence[Layer], ids: Sequence[str], *, shifted: bool = False
    ) -> list[Moments]:
        """The moments of a layer with each of the others, in one pass over the first."""
        sums: list[Moments] = []
        for batch in self.pairs.batches(ids):
            frames = self._centred(layer, batch)
            if shifted:
                frames = frames.roll(len(frames) // 2, 0)
            parts = [moments(frames, self._centred(other, batch)) for other in others]
            sums = [total + part for total, part in zip(sums, parts, strict=True)] if sums else parts
        return sums

    def _centred(self, layer: Layer, batch: Sequence[str]) -> Float[Tensor, "n dim"]:
        return self.pairs.read(layer.side, layer.name, batch).double() - layer.origin
