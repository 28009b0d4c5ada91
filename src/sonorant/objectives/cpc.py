"""CPC: tell the frames that come next from others, by all that came before.

A. van den Oord, Y. Li, O. Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018,
https://arxiv.org/abs/1807.03748; as modified by M. Riviere, A. Joulin, P.-E. Mazare, E. Dupoux,
"Unsupervised Pretraining Transfers Well Across Languages", ICASSP 2020, https://arxiv.org/abs/2002.02848

With z_t the frames of an utterance of T frames, c_t the output of a causal network that has read z_1 ..
z_t, W_k the predictor of step k and N_t other frames,

    f_k(z, t) = z^T W_k(c_1 .. c_t) / d                                    (2018, the logarithm of eq. 3)
    L = - sum over t, k of log( exp f_k(z_{t+k}, t)
                                / sum over z in {z_{t+k}} and N_t of exp f_k(z, t) )        (2018, eq. 4)

for k = 1 .. K and t = 1 .. T - K. Of 2020 are the predictors, one causal Transformer layer for each step
instead of one matrix (`predictor: linear`), and negatives of the same speaker: here of the same utterance,
or of the batch. N_t serves all k. The division by the width d is that of the authors' code. Their
channel-wise normalisation is `norm: layer` of the convolutional front end; with `norm: group` all frames
know the utterance.

Deviations: frames are those of this project's front ends (the convolutions give 50 a second instead of 100,
so that as many steps reach twice as far); a drawn negative that is the target is left out; the layers'
positions are rotary instead of learned; where frames and context differ in width, a linear map follows the
layer. Log-mel frames are standardised over the utterance, of which the first frame then knows the mean.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from msgspec import Meta
from torch import Generator, Tensor, nn

from sonorant.encoders.base import Encoder
from sonorant.encoders.sizes import Probability, check_divides
from sonorant.nn.attention import SelfAttention
from sonorant.nn.dropout import Dropout
from sonorant.nn.positions import rotary_angles
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss, Padded

Count = Annotated[int, Meta(ge=1)]


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """The numbers of 2020. `heads`, `feedforward` and `dropout` are those of the predictors' layers."""

    steps: Count = 12  # K, in frames
    negatives: Count = 128  # a frame
    negatives_from: Literal["utterance", "batch"] = "utterance"
    predictor: Literal["transformer", "linear"] = "transformer"
    heads: Count = 8
    feedforward: Count = 2048
    dropout: Probability = 0.1

    def build(self, encoder: Encoder) -> "CPC":
        """ValueError: a context that sees the future, or a width that the heads do not fit."""
        if not encoder.context.causal:
            raise ValueError(
                "cpc: predicts the future, which encoder.context sees already: choose a causal one"
            )
        if self.predictor == "transformer":  # each head turns pairs of numbers
            check_divides("twice heads", 2 * self.heads, "encoder.context.dim", encoder.context.dim)
        return CPC(encoder, self)


class CPC(Objective):
    """See the head of this file."""

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        self.couples_utterances = config.negatives_from == "batch"
        dim, frame_dim = encoder.context.dim, encoder.frontend.dim
        self.predictors = nn.ModuleList(
            _Predictor(dim, frame_dim, config)
            if config.predictor == "transformer"
            else nn.Linear(dim, frame_dim, bias=False)
            for _ in range(config.steps)
        )

    def forward(self, batch: Batch) -> Loss:
        frames = self.encoder.frontend(batch.inputs)
        context = self.encoder.context(self.encoder.project(frames)).last.values
        predicted = torch.stack([predict(context) for predict in self.predictors], dim=1)
        total = predicted.new_zeros((), dtype=torch.float32)
        right = torch.zeros_like(total)
        for logits in self.logits(predicted, frames, batch.generators()):
            total = total - logits.log_softmax(-1)[..., 0].sum()
            right = right + (logits[..., :1] > logits[..., 1:]).all(-1).sum(1)
        times = (frames.lengths - self.config.steps).clamp(min=0).sum()
        accuracies = right / times.clamp(min=1)
        metrics = {"accuracy": accuracies.mean()}
        metrics |= {f"accuracy_{k}": value for k, value in enumerate(accuracies, start=1)}
        return Loss(total, times * self.config.steps, metrics)

    def logits(
        self,
        predicted: Float[Tensor, "batch steps time dim"],
        frames: Padded,
        generators: Sequence[Generator],
    ) -> list[Float[Tensor, "steps times candidates"]]:
        """f_k of each utterance for the target (first) and its negatives, -inf for those that are the target.

        All similarities of an utterance are one product of matrices, from which they are picked.
        """
        steps, device = self.config.steps, predicted.device
        together = self.config.negatives_from == "batch"
        found, begin, everything = [], 0, frames.values[frames.mask].float()
        with torch.autocast(device.type, enabled=False):
            for row, length, generator in zip(predicted, frames.lengths.tolist(), generators, strict=True):
                times = max(length - steps, 0)
                pool = everything if together else everything[begin : begin + length]
                ahead = torch.arange(times) + torch.arange(1, steps + 1)[:, None]
                targets = (ahead + begin if together else ahead).to(device)
                negatives = _draw(len(pool), times, self.config.negatives, generator).to(device)
                ours = row[:, :times].float().flatten(0, 1) / pool.shape[1]
                similar = (ours @ pool.T).unflatten(0, (steps, times))
                found.append(_pick(similar, targets, negatives))
                begin += length
        return found


class _Predictor(nn.Module):
    """A causal Transformer layer with the normalisation behind each block, and a map to the frames' width."""

    def __init__(self, dim: int, frame_dim: int, config: Config) -> None:
        super().__init__()
        self.width = dim // config.heads
        self.attention = SelfAttention(dim, heads=config.heads, dropout=config.dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.feedforward = nn.Sequential(
            nn.Linear(dim, config.feedforward),
            nn.ReLU(),
            Dropout(config.dropout),
            nn.Linear(config.feedforward, dim),
        )
        self.feedforward_norm = nn.LayerNorm(dim)
        self.outward = nn.Identity() if dim == frame_dim else nn.Linear(dim, frame_dim)

    def forward(self, values: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time frame_dim"]:
        time, device = values.shape[1], values.device
        past = torch.ones(time, time, dtype=torch.bool, device=device).tril()[None, None]
        angles = rotary_angles(time, self.width, device=device)
        values = self.attention_norm(values + self.attention(values, mask=past, angles=angles))
        predicted: Tensor = self.outward(self.feedforward_norm(values + self.feedforward(values)))
        return predicted


def _draw(frames: int, times: int, negatives: int, generator: Generator) -> Int[Tensor, "times negatives"]:
    """So many of the frames for each time, with replacement."""
    return torch.randint(max(frames, 1), (times, negatives), generator=generator)


def _pick(
    similar: Float[Tensor, "steps times frames"],
    targets: Int[Tensor, "steps times"],
    negatives: Int[Tensor, "times negatives"],
) -> Float[Tensor, "steps times candidates"]:
    """The similarities of the targets, and of the negatives where they are not the target."""
    own = targets[..., None]
    others = negatives.expand(len(similar), -1, -1)
    return torch.cat(
        [similar.gather(2, own), similar.gather(2, others).masked_fill(others == own, -torch.inf)], dim=2
    )
