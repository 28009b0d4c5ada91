"""ABX discriminability: how often an item X lies nearer to a B of another phone than to an A of its own.

Thomas Schatz, Vijayaditya Peddinti, Francis Bach, Aren Jansen, Hynek Hermansky and Emmanuel Dupoux,
"Evaluating speech features with the minimal-pair ABX task: analysis of the classical MFC/PLP pipeline",
Interspeech 2013; Thomas Schatz, "ABX-discriminability measures and applications", PhD thesis, ENS Paris 2016.
As the ZeroSpeech challenges average it (https://zerospeech.com/tasks/task_1/metrics/):

    cell   A and X of phone a, B of phone b, all in one context; within speakers all three of one speaker and
           A not X; across speakers A and B of one speaker, X of another
    error  the mean over a cell's triples of [d(X, A) > d(X, B)] + [d(X, A) = d(X, B)] / 2
    then   the mean over contexts (and speakers of X), over speakers of A and B, over ordered pairs (a, b)

0 is perfect, 0.5 is chance. Cells that have no triple are left out. Every triple is counted: distances are
sorted, not compared one by one. `limit` keeps so many items of each phone, context and speaker, and
`other_speakers` so many speakers of X for each A and B, drawn once (10 and 5 in ZeroSpeech's evaluation).

The 95 % interval is over speakers if there are at least ten, since items of one voice are alike; with fewer
speakers it is over clips, and then says how sure the error is for these voices, not for others. It is the
bootstrap of the error's linear part: of what the error would lose without each speaker, or by less weight of
each clip, cells that would vanish with it included. Speakers or clips that are drawn twice as they are would
be their own twins at distance 0 and make each resample look better than the data. Where most cells have a
single triple the interval is too wide rather than too narrow (B. Efron and C. Stein, "The jackknife estimate
of variance", Annals of Statistics 9(3), 1981: on average the jackknife errs upwards).
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sonorant.evaluate.cells import Group, Speakers, groups, indispensable, score
from sonorant.evaluate.dtw import Distance, sequences
from sonorant.evaluate.items import Items
from sonorant.evaluate.sampling import SamplingError, interval, resamples

SPEAKERS = 10  # from so many on the interval is over speakers
PAIRS = 2**31  # of items in a group, whose distances are held at once


@dataclass(frozen=True)
class Discriminability:
    """An ABX error rate from 0 to 1, with its 95 % interval and what it rests on."""

    error: float
    low: float
    high: float
    over: str  # what the interval is over: speakers or clips
    n: int  # how many of them
    pairs: dict[tuple[str, str], float]  # the error of each phone of A and X, and phone of B
    items: int
    cells: int
    triples: int
    seconds: float  # of wall time


@dataclass(frozen=True)
class Average:
    """How cells are averaged: over contexts and speakers of X, over speakers of A and B, over pairs."""

    pairs: Int[Tensor, " pairs"]
    pair: Int[Tensor, " voices"]  # of each speaker's mean
    speaker: Int[Tensor, " voices"]
    voice: Int[Tensor, " cells"]  # which speaker's mean a cell is in
    weights: Float[Tensor, " cells"]  # of each cell in the whole

    def of(self, errors: Float[Tensor, " cells"]) -> tuple[Float[Tensor, " voices"], Float[Tensor, " pairs"]]:
        """The means over each speaker's cells, and over each pair's speakers."""
        voices = _means(errors, self.voice, len(self.pair))
        return voices, _means(voices, self.pair, len(self.pairs))

    def losses(
        self, errors: Float[Tensor, " cells"]
    ) -> tuple[Float[Tensor, " voices"], Float[Tensor, " cells"]]:
        """What the whole would lose without each speaker's mean, and without each cell.

        With its last cell a speaker's mean goes, and with its last speaker a pair.
        """
        voices, pairs = self.of(errors)
        cells, speakers = self.voice.bincount(), self.pair.bincount()[self.pair]
        of_pair = (pairs - pairs.mean()) / max(1, len(pairs) - 1)
        of_voice = (voices - pairs[self.pair]) / (speakers - 1).clamp(min=1) / len(pairs)
        of_voice += of_pair[self.pair].masked_fill(speakers > 1, 0)
        alone = (cells == 1)[self.voice]
        others = ((cells - 1).clamp(min=1) * speakers * len(pairs))[self.voice]
        return of_voice, torch.where(alone, of_voice[self.voice], (errors - voices[self.voice]) / others)


def abx(
    items: Items,
    *,
    speakers: Speakers = "within",
    distance: Distance = "angular",
    other_speakers: int | None = None,
    seed: int = 0,
) -> Discriminability:
    """The ABX error rate of items. SamplingError: no triple can be made of them, or too many in a group."""
    started = time.perf_counter()
    found = list(groups(items, speakers, other_speakers=other_speakers, seed=seed))
    if not found:
        raise SamplingError(
            f"{len(items.lengths)} items, no triple {speakers} speakers ({_way_out(items, speakers)})"
        )
    largest = max(len(group.rows) * len(group.columns) for group in found)
    if largest > PAIRS:
        raise SamplingError(
            f"{largest} pairs of items are to be compared at once (keep fewer items by a limit)"
        )
    average = _average(found, len(items.names), len(items.voices))
    prepared = sequences(items.frames, items.lengths, distance)
    errors, influence = [], torch.zeros(len(items.lengths), dtype=torch.float64)
    for group, weights in zip(found, _tables(found, average.weights), strict=True):
        table = prepared.between(group.rows, group.columns)
        cells, as_x, as_other = score(group, table, weights)
        errors.append(cells[group.triples > 0])
        influence.index_add_(0, group.rows, as_x).index_add_(0, group.columns, as_other)
    all_errors = torch.cat(errors)
    if len(items.voices) >= SPEAKERS:
        over, units = "speakers", _of_speakers(average, found, all_errors, len(items.voices))
    else:
        over, units = "clips", _of_clips(average, found, all_errors, influence, items.clips)
    _, pairs = average.of(all_errors)
    error = pairs.mean().item()
    low, high = _interval(error, units, seed)
    return Discriminability(
        error=error,
        low=low,
        high=high,
        over=over,
        n=len(units),
        pairs={
            (items.names[number // len(items.names)], items.names[number % len(items.names)]): value
            for number, value in zip(average.pairs.tolist(), pairs.tolist(), strict=True)
        },
        items=len(items.lengths),
        cells=len(all_errors),
        triples=sum(int(group.triples.sum()) for group in found),
        seconds=time.perf_counter() - started,
    )


def _average(found: Sequence[Group], labels: int, voices: int) -> Average:
    marks = []
    for group in found:
        kind, phone = (group.triples > 0).nonzero(as_tuple=True)
        marks.append((group.kinds[kind, 1] * labels + group.phones[phone]) * voices + group.speaker)
    means, voice, cells = torch.cat(marks).unique(return_inverse=True, return_counts=True)
    pairs, pair, speakers = (means // voices).unique(return_inverse=True, return_counts=True)
    weights = 1 / (cells[voice] * speakers[pair[voice]] * len(pairs)).double()
    return Average(pairs, pair, means % voices, voice, weights)


def _tables(found: Sequence[Group], values: Float[Tensor, " cells"]) -> Iterator[Tensor]:
    """Values of cells as their groups have them, 0 where there is no cell."""
    parts = values.split([int((group.triples > 0).sum()) for group in found])
    for group, part in zip(found, parts, strict=True):
        yield part.new_zeros(group.triples.shape).masked_scatter(group.triples > 0, part)


def _of_speakers(
    average: Average, found: Sequence[Group], errors: Float[Tensor, " cells"], voices: int
) -> Float[Tensor, " speakers"]:
    """What the error would lose without each speaker, of A and B or, if it is another one, of X."""
    by_voice, by_cell = average.losses(errors)
    influence = torch.zeros(voices, dtype=torch.float64).index_add_(0, average.speaker, by_voice)
    if not found[0].within:
        of_x = [group.kinds[(group.triples > 0).nonzero()[:, 0], 0] for group in found]
        influence.index_add_(0, torch.cat(of_x), by_cell)
    return influence


def _of_clips(
    average: Average,
    found: Sequence[Group],
    errors: Float[Tensor, " cells"],
    influence: Float[Tensor, " items"],
    clips: Int[Tensor, " items"],
) -> Float[Tensor, " clips"]:
    """What the error would lose by less weight of each clip, with the cells that vanish with an item."""
    whole = influence.clone()
    for group, losses in zip(found, _tables(found, average.losses(errors)[1]), strict=True):
        as_x, as_other = indispensable(group, losses)
        whole.index_add_(0, group.rows, as_x).index_add_(0, group.columns, as_other)
    return torch.zeros(int(clips.max()) + 1, dtype=torch.float64).index_add_(0, clips, whole)


def _interval(error: float, influence: Float[Tensor, " n"], seed: int) -> tuple[float, float]:
    """Of bootstrap samples of the speakers or clips; the error itself if there is one of them."""
    if len(influence) < 2:
        return error, error
    low, high = interval(error + (resamples(len(influence), seed=seed) - 1) @ influence)
    return max(low, 0.0), min(high, 1.0)


def _means(values: Float[Tensor, " n"], groups: Int[Tensor, " n"], count: int) -> Float[Tensor, " count"]:
    return torch.zeros(count, dtype=torch.float64).index_add_(0, groups, values) / groups.bincount()


def _way_out(items: Items, speakers: Speakers) -> str:
    if speakers == "across" and len(items.voices) < 2:
        return "there is one speaker: measure within speakers"
    return "more speech, or phones in any context"
