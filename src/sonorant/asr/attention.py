"""Beam search with an attention decoder, CTC's prefix scores and a language model, label by label.

Hori, Watanabe and Hershey, "Joint CTC/attention decoding for end-to-end speech recognition", ACL 2017,
https://aclanthology.org/P17-1048/. With a for `ctc_weight`, a labelling z of x is worth

    (1 - a) ln p_att(z | x) + a ln p_ctc(z | x) + what the scorer adds

and while it is being written, ln p_ctc of all labellings that begin like it. CTC's probability of just z sees
to the length: what leaves speech out or says it twice is unlikely by it, so that neither a bonus for length
nor a threshold for the end is needed. There are at most as many labels as frames, as in CTC.

Without a scorer nothing that is added to a labelling makes it better, and the search ends when nothing that
has not ended is as good as the best that has. With a beam as wide as all labellings it is exact.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from sonorant.asr.beam import SURE, Scorer
from sonorant.asr.decode import Token, forced_alignment
from sonorant.asr.prefix import PrefixScorer
from sonorant.asr.vocabulary import BLANK
from sonorant.nn.decoder import EDGE, Decoder
from sonorant.types import Padded, pad

SLACK = 20.0  # that a scorer may make good for what is worse than the best that has ended
_TOGETHER = 4096  # frames that are searched at once, with their padding


@dataclass(frozen=True)
class Found:
    labels: tuple[int, ...] = ()
    confidences: tuple[float, ...] = ()  # the decoder's probability of each label
    score: float = -np.inf


@dataclass(frozen=True)
class Attention:
    """A decoder, and how it is asked. Frames are CTC's log probabilities of `labels` labels, and behind them
    what the decoder attends to."""

    decoder: Decoder
    labels: int
    ctc_weight: float
    computing: Callable[[], AbstractContextManager[object]]  # to be within while it computes
    device: torch.device

    def tokens(
        self, pieces: Sequence[Float[ndarray, "_time width"]], *, width: int, scorer: Scorer | None = None
    ) -> list[list[Token]]:
        """The tokens of each stretch of speech, each a sentence of its own.

        Times are those of the likeliest CTC path. Where CTC is sure that all frames are blank, nothing is
        said.
        """
        result: list[list[Token]] = [[] for _ in pieces]
        speaking = [place for place, frames in enumerate(pieces) if self._speaks(frames)]
        for group in _groups(speaking, [len(frames) for frames in pieces]):
            frames = pad([torch.from_numpy(pieces[place]) for place in group]).to(self.device)
            with self.computing():
                found = self.search(frames, width=width, scorer=scorer)
            for place, each in zip(group, found, strict=True):
                result[place] = _timed(each, pieces[place][:, : self.labels])
        return result

    def search(self, frames: Padded, *, width: int, scorer: Scorer | None = None) -> list[Found]:
        """The best labelling of each utterance that keeping `width` hypotheses finds; 1 is greedy."""
        memory = Padded(frames.values[..., self.labels :], frames.lengths)
        posteriors = Padded(frames.values[..., : self.labels], frames.lengths)
        ctc = PrefixScorer(posteriors) if self.ctc_weight else None
        prefixes = None if ctc is None else ctc.begin(width)
        beam = _Beam.begin(len(frames.lengths), width, scorer, self.device)
        cache = self.decoder.begin(memory, width)
        best = [Found() for _ in frames.lengths]
        for count in range(int(frames.lengths.max()) + 1):
            row, cache = self.decoder.step(beam.last.flatten(), cache)
            written = beam.written[..., None] + row.double().view(*beam.written.shape, -1)
            scores = written if ctc is None else (1 - self.ctc_weight) * written
            if ctc is not None and prefixes is not None:
                scores = scores + self.ctc_weight * ctc.score(prefixes)
            added = beam.added(scorer, self.labels)
            scores = (scores + added).masked_fill(~beam.alive[..., None], -torch.inf)
            scores[..., 1:].masked_fill_((count >= frames.lengths)[:, None, None], -torch.inf)
            best = beam.ended(best, scores)
            beam, rows, alive = beam.grown(scores, written, added, best, scorer)
            if not alive:
                break
            offsets = torch.arange(len(rows), device=rows.device)[:, None] * width
            cache = cache.choose((rows + offsets).flatten())
            if ctc is not None and prefixes is not None:
                prefixes = ctc.extend(prefixes, rows, beam.last)
        return best

    def _speaks(self, frames: Float[ndarray, "time width"]) -> bool:
        return bool(len(frames)) and not (self.ctc_weight and (frames[:, BLANK] > SURE).all())


@dataclass(frozen=True)
class _Beam:
    """Hypotheses that have not ended, best first; those that are not alive hold a place."""

    alive: Bool[Tensor, "utterances width"]
    written: Float[Tensor, "utterances width"]  # ln p_att
    said: Float[Tensor, "utterances width"]  # what the scorer added
    labels: Int[Tensor, "utterances width count"]
    sure: Float[Tensor, "utterances width count"]  # ln p_att of each label
    states: list[list[Any]] = field(default_factory=list)  # the scorer's

    @classmethod
    def begin(cls, utterances: int, width: int, scorer: Scorer | None, device: torch.device) -> "_Beam":
        alive = torch.zeros(utterances, width, dtype=torch.bool, device=device)
        alive[:, 0] = True
        zero = torch.zeros(utterances, width, dtype=torch.float64, device=device)
        none = torch.zeros(utterances, width, 0, dtype=torch.int64, device=device)
        start = None if scorer is None else scorer.start
        return cls(alive, zero, zero, none, none.double(), [[start] * width for _ in range(utterances)])

    @property
    def last(self) -> Int[Tensor, "utterances width"]:
        if not self.labels.shape[2]:
            return torch.full(self.alive.shape, EDGE, device=self.labels.device)
        return self.labels[..., -1]

    def added(self, scorer: Scorer | None, labels: int) -> Float[Tensor, "utterances width #labels"]:
        """What the scorer has added with each next label, and, as label 0, with the end."""
        if scorer is None:
            return self.said[..., None]
        rows = np.zeros((*self.alive.shape, labels))
        places = list(zip(*np.nonzero(self.alive.cpu().numpy()), strict=True))
        scorer.ready([self.states[row][column] for row, column in places])
        for place in places:
            state = self.states[place[0]][place[1]]
            rows[place] = scorer.added(state)
            rows[place][EDGE] = scorer.end(state)
        return self.said[..., None] + torch.from_numpy(rows).to(self.said.device)

    def ended(self, best: Sequence[Found], scores: Float[Tensor, "utterances width labels"]) -> list[Found]:
        """The best of each utterance with those that end now: whose end is among the best ways to go on."""
        width = scores.shape[1]
        least = scores.flatten(1).topk(width).values[:, -1:]
        ends = scores[..., EDGE]
        values, places = ends.masked_fill(ends < least, -torch.inf).max(1)
        result = []
        for number, value in enumerate(values.tolist()):
            row = number, int(places[number])
            confidences = tuple(self.sure[row].exp().tolist())
            found = Found(tuple(self.labels[row].tolist()), confidences, value)
            result.append(found if value > best[number].score else best[number])
        return result

    def grown(
        self,
        scores: Float[Tensor, "utterances width labels"],
        written: Float[Tensor, "utterances width labels"],
        added: Float[Tensor, "utterances width #labels"],
        best: Sequence[Found],
        scorer: Scorer | None,
    ) -> tuple["_Beam", Int[Tensor, "utterances width"], bool]:
        """The best ways to go on, which rows they come from, and whether any can still be the best."""
        _, width, size = scores.shape
        values, places = scores[..., 1:].flatten(1).topk(width)
        rows, labels = places // (size - 1), places % (size - 1) + 1
        reached = torch.tensor([each.score for each in best], device=values.device)[:, None]
        alive = values > (reached if scorer is None else reached - SLACK)
        alive &= values > -torch.inf
        flat = rows * size + labels
        states = self.states if scorer is None else self._stepped(scorer, rows, labels, alive)
        before = rows[..., None].expand(-1, -1, self.labels.shape[2])
        reached_by = written.flatten(1).gather(1, flat)
        sure = reached_by - self.written.gather(1, rows)
        said = added.expand(-1, -1, size).flatten(1).gather(1, flat)
        beam = _Beam(
            alive=alive,
            written=reached_by,
            said=said,
            labels=torch.cat([self.labels.gather(1, before), labels[..., None]], 2),
            sure=torch.cat([self.sure.gather(1, before), sure[..., None]], 2),
            states=states,
        )
        return beam, rows, bool(alive.any())

    def _stepped(
        self,
        scorer: Scorer,
        rows: Int[Tensor, "utterances width"],
        labels: Int[Tensor, "utterances width"],
        alive: Bool[Tensor, "utterances width"],
    ) -> list[list[Any]]:
        """The scorer's states behind one more label of these rows."""
        each = zip(self.states, rows.tolist(), labels.tolist(), alive.tolist(), strict=True)
        return [
            [
                scorer.step(states[row], label) if lives else None
                for row, label, lives in zip(*chosen, strict=True)
            ]
            for states, *chosen in each
        ]


def _groups(places: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of similar lengths, as many as may be searched together."""
    group: list[int] = []
    for place in sorted(places, key=lambda each: lengths[each]):
        if group and lengths[place] * (len(group) + 1) > _TOGETHER:
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _timed(found: Found, log_probabilities: Float[ndarray, "time labels"]) -> list[Token]:
    """A labelling on the frames of its likeliest CTC path; evenly spread where they are too few for one."""
    try:
        tokens = forced_alignment(log_probabilities, found.labels)
    except ValueError:
        edges = np.linspace(0, len(log_probabilities), len(found.labels) + 1).round().astype(int).tolist()
        spans = zip(found.labels, edges, edges[1:], strict=False)
        tokens = [Token(label, start, max(end, start + 1), 0.0) for label, start, end in spans]
    pairs = zip(tokens, found.confidences, strict=True)
    return [replace(token, confidence=confidence) for token, confidence in pairs]
