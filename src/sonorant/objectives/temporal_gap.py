"""Temporal gap: tell how many seconds lie between two slices of an utterance.

M. Tagliasacchi, B. Gfeller, F. de Chaumont Quitry, D. Roblek, "Self-supervised audio representation learning
for mobile devices", 2019, https://arxiv.org/abs/1905.11796, TemporalGap: two slices of a clip's log-mel
spectrogram are encoded apart by the same encoder, and a small network tells from both embeddings the gap
between them, as a share of the largest one, by a cross-entropy.

Here e(s) is the mean of the context's outputs over slice s, b the bin of the gap between the end of the first
slice and the start of the second, and MLP a network with one hidden layer:

    q = softmax(MLP([e(s_1), e(s_2)]))
    L = - ln q_b                                   summed over `pairs` pairs an utterance

Ours, not the paper's: the gap is classified into `bins` equal parts of 0 to `max_gap` seconds, where the
paper has a single output between 0 and 1 (a softmax can say that it hesitates between near and far); the
first slice is always the earlier one; slices are cut from the waveform, so that a front end that normalises
over the utterance cannot give the place away; pooling is a mean; several pairs are drawn from an utterance;
and all the sizes below. A bin is drawn first, every one that fits into the utterance with the same chance,
then the gap in it, then the place: places drawn alone would make short gaps the common answer. An utterance
without room for two slices has no pair. The paper's own sizes could not be checked.

Mind what an encoder learns by this: what changes slowly, such as the channel, the speaker's distance or the
topic; little of what changes within a slice. `accuracy` is to be held against `commonest`, the share of the
batch's commonest bin; `error_seconds` is the mean distance from the middle of the likeliest bin.
"""

from typing import Annotated

import torch
from jaxtyping import Float, Int
from msgspec import Meta
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from sonorant.config import ConfigError
from sonorant.encoders.base import Encoder
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss, Padded

Positive = Annotated[float, Meta(gt=0)]


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """Lengths are in seconds."""

    slice: Positive = 0.5
    max_gap: Positive = 4.0
    bins: Annotated[int, Meta(ge=2)] = 8
    pairs: Annotated[int, Meta(ge=1)] = 4  # an utterance
    hidden: Annotated[int, Meta(ge=1)] = 256  # units of the network that tells the gap

    def build(self, encoder: Encoder) -> "TemporalGap":
        """ConfigError: a slice is shorter than a frame."""
        if encoder.frontend.frames(round(self.slice * encoder.frontend.rate)) < 1:
            raise ConfigError(f"objective.slice: {self.slice} s give no frame (take longer slices)")
        return TemporalGap(encoder, self)


class TemporalGap(Objective):
    """See the head of this file."""

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        self.predict = nn.Sequential(
            nn.Linear(2 * encoder.context.dim, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, config.bins),
        )

    def forward(self, batch: Batch) -> Loss:
        rate = self.encoder.frontend.rate
        drawn = [
            self.draw(length, generator)
            for length, generator in zip(batch.inputs.lengths.tolist(), batch.generators(), strict=True)
        ]
        owners = torch.tensor([row for row, pairs in enumerate(drawn) for _ in pairs], dtype=torch.long)
        if not len(owners):
            return Loss(batch.inputs.values.new_zeros(()), owners.sum(), {})
        starts = torch.cat(drawn).to(batch.inputs.values.device)
        scores = self.predict(self.embed(batch.inputs.values, owners.to(starts.device), starts)).float()
        gaps = (starts[:, 1] - starts[:, 0]) / rate - self.config.slice
        bins = self.bin(starts[:, 1] - starts[:, 0])
        total = F.cross_entropy(scores, bins, reduction="sum")
        best = scores.detach().argmax(1)
        width = self.config.max_gap / self.config.bins
        metrics = {
            "accuracy": (best == bins).float().mean(),
            "commonest": bins.bincount().max() / len(bins),
            "error_seconds": ((best + 0.5) * width - gaps).abs().mean(),
        }
        return Loss(total, torch.tensor(len(bins), device=bins.device), metrics)

    def embed(
        self,
        waves: Float[Tensor, "batch samples"],
        owners: Int[Tensor, " pairs"],
        starts: Int[Tensor, "pairs 2"],
    ) -> Float[Tensor, "pairs two_dims"]:
        """Both slices' mean outputs side by side; each slice is encoded by itself."""
        size = self._samples()
        places = starts[..., None] + torch.arange(size, device=starts.device)
        slices = waves[owners[:, None, None], places].flatten(0, 1)
        lengths = torch.full((len(slices),), size, device=starts.device)
        hidden = self.encoder(Padded(slices, lengths)).last
        means: Float[Tensor, "slices dim"] = hidden.values.mean(1)  # slices are of one length: no padding
        both: Float[Tensor, "pairs two_dims"] = means.unflatten(0, (-1, 2)).flatten(1)
        return both

    def draw(self, length: int, generator: Generator) -> Int[Tensor, "pairs 2"]:
        """Where the slices of an utterance's pairs start, in samples; no pair if there is no room for one."""
        room = length - 2 * self._samples()  # samples of the longest gap
        edges = self._edges()
        fitting = sum(edge <= room for edge in edges[:-1])
        rows = []
        for _ in range(self.config.pairs if fitting else 0):
            drawn = int(torch.randint(fitting, (), generator=generator))
            last = min(edges[drawn + 1], room + 1)
            gap = int(torch.randint(edges[drawn], last, (), generator=generator))
            first = int(torch.randint(room - gap + 1, (), generator=generator))
            rows.append([first, first + self._samples() + gap])
        return torch.tensor(rows, dtype=torch.long).view(-1, 2)

    def bin(self, distances: Int[Tensor, " pairs"]) -> Int[Tensor, " pairs"]:
        """The bin of the gap of two slices whose starts are so many samples apart."""
        edges = torch.tensor(self._edges()[1:-1], device=distances.device)
        bins: Int[Tensor, " pairs"] = torch.bucketize(distances - self._samples(), edges, right=True)
        return bins

    def _samples(self) -> int:
        return round(self.config.slice * self.encoder.frontend.rate)

    def _edges(self) -> list[int]:
        """Of the bins, in samples; the last one is beyond all gaps."""
        longest = self.config.max_gap * self.encoder.frontend.rate
        return [round(longest * number / self.config.bins) for number in range(self.config.bins + 1)]
