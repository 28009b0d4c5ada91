"""Workers that tell pairs of embeddings that belong together from others: LIM, GIM and SPC."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from sonorant.nn.prelu import PReLU
from sonorant.nn.workers.judged import Judged
from sonorant.types import Padded

SPAN = 5  # frames that SPC holds against the anchor


@dataclass(frozen=True)
class Draws:
    """What each chunk is held against: a frame of its sibling for each of its own, another utterance's chunk
    (itself where there is no other utterance), and a frame of that for each of its own."""

    positives: Int[Tensor, "rows time"]
    others: Int[Tensor, " rows"]
    negatives: Int[Tensor, "rows time"]


def draw(lengths: Int[Tensor, " rows"], generators: Sequence[Generator], *, time: int) -> Draws:
    """Rows 2i and 2i + 1 are the chunks of utterance i, which draws from its own generator."""
    counts, utterances = lengths.tolist(), len(generators)
    positives, negatives = torch.zeros(2, len(counts), time, dtype=torch.long)
    others = torch.arange(len(counts))
    for row, count in enumerate(counts):
        generator = generators[row // 2]
        if utterances > 1:
            strange = int(torch.randint(2 * (utterances - 1), (), generator=generator))
            others[row] = strange + 2 * (strange >= row // 2 * 2)
        positives[row, :count] = _frames(counts[row ^ 1], count, generator)
        negatives[row, :count] = _frames(counts[int(others[row])], count, generator)
    return Draws(positives.to(lengths.device), others.to(lengths.device), negatives.to(lengths.device))


class LocalInfoMax(nn.Module):
    """LIM: a chunk's frame with one of the other chunk of its utterance, against one of another utterance."""

    def __init__(self, dim: int, *, hidden: int) -> None:
        super().__init__()
        self.judge = judge(2 * dim, hidden)

    def forward(self, chunks: Padded, draws: Draws) -> Judged:
        values = chunks.values
        siblings = torch.arange(len(values), device=values.device) ^ 1
        together = self._scores(values, siblings, draws.positives)
        apart = self._scores(values, draws.others, draws.negatives)
        foreign = draws.others != siblings ^ 1
        return judged(together, apart, chunks.mask & foreign[:, None])

    def _scores(
        self, values: Tensor, rows: Int[Tensor, " rows"], places: Int[Tensor, "rows time"]
    ) -> Float[Tensor, "rows time"]:
        partners = values[rows[:, None], places]
        scores: Tensor = self.judge(torch.cat([values, partners], -1))[..., 0]
        return scores


class GlobalInfoMax(nn.Module):
    """GIM: the mean of a chunk with that of the other chunk of its utterance, against another utterance's."""

    def __init__(self, dim: int, *, hidden: int) -> None:
        super().__init__()
        self.judge = judge(2 * dim, hidden)

    def forward(self, chunks: Padded, draws: Draws) -> Judged:
        means = chunks.zeroed().values.float().sum(1) / chunks.lengths.clamp(min=1)[:, None]
        siblings = torch.arange(len(means), device=means.device) ^ 1
        together = self.judge(torch.cat([means, means[siblings]], -1))
        apart = self.judge(torch.cat([means, means[draws.others]], -1))
        return judged(together, apart, (draws.others != siblings ^ 1)[:, None])


class SequencePrediction(nn.Module):
    """SPC: a frame with the five that follow, `guard` frames later, against the five that went before."""

    def __init__(self, dim: int, *, hidden: int, guard: int) -> None:
        super().__init__()
        self.guard = guard
        self.judge = judge((1 + SPAN) * dim, hidden)

    def forward(self, chunks: Padded) -> Judged:
        reach = self.guard + SPAN
        time = max(0, chunks.values.shape[1] - 2 * reach)
        if not time:
            nothing = chunks.values.new_zeros(len(chunks.lengths), 0)
            return judged(nothing, nothing, nothing.bool())
        anchors = chunks.values[:, reach : reach + time]
        spans = chunks.values.unfold(1, SPAN, 1).flatten(2)  # from each frame on
        future = spans[:, reach + self.guard + 1 :][:, :time]
        past = spans[:, :time]
        scores = [self.judge(torch.cat([anchors, each], -1))[..., 0] for each in (future, past)]
        steps = torch.arange(time, device=anchors.device)
        return judged(scores[0], scores[1], steps < chunks.lengths[:, None] - 2 * reach)


def judge(dim: int, hidden: int) -> nn.Sequential:
    """A perceptron with one hidden layer and one answer, above zero for yes."""
    return nn.Sequential(nn.Linear(dim, hidden), PReLU(hidden), nn.Linear(hidden, 1))


def judged(
    together: Float[Tensor, "rows asked"],
    apart: Float[Tensor, "rows asked"],
    asked: Bool[Tensor, "rows asked"],
) -> Judged:
    """Binary cross-entropies of as many yes as no."""
    together, apart = together.float(), apart.float()
    number = asked.sum(1).clamp(min=1)
    entropies = (F.softplus(-together) + F.softplus(apart)) / 2
    right = ((together > 0).float() + (apart < 0).float()) / 2
    loss, accuracy = (each.masked_fill(~asked, 0).sum(1) / number for each in (entropies, right))
    return Judged(loss, asked.any(1), accuracy.detach())


def _frames(of: int, count: int, generator: Generator) -> Int[Tensor, " count"]:
    return torch.randint(max(of, 1), (count,), generator=generator)
