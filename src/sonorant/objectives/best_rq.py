"""BEST-RQ: name the random-projection label of frames that are hidden.

C.-C. Chiu, J. Qin, Y. Zhang, J. Yu, Y. Wu, "Self-supervised Learning with Random-projection Quantizer for
Speech Recognition", ICML 2022, https://arxiv.org/abs/2202.01855

With x_t the frames of an utterance, M the hidden ones and y_t^k the label that codebook k gives the frame
before it is hidden (the paper numbers no equations),

    y_t = argmin_i || norm(c_i) - norm(A x_t) ||                                         (section 3.1)
    L   = - sum over t in M of ln p(y_t | x with M hidden)                               (section 3.2)

Hidden frames are replaced by normal noise; its "0.1 variance" is a standard deviation of 0.1 in the known
implementations, and here. With several codebooks the loss of a
frame is the mean of theirs, as in J. Pelecanos et al. and K. Hasumi et al. 2025, https://arxiv.org/abs/2501.16131.

Deviations: labels may come from principal axes instead of a random projection (`projection: pca`); an
utterance always has at least one span hidden; frames are those of the front end, whose normalisation is what
the paper calls critical.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.encoders.base import Encoder
from sonorant.health import FIXED, Sign, few_codes
from sonorant.nn.masking import bernoulli_span_mask
from sonorant.nn.random_projection import Projection, RandomProjectionQuantizer
from sonorant.nn.usage import code_use, perplexity
from sonorant.objective import Objective, ObjectiveConfig
from sonorant.types import Batch, Loss, Padded

Count = Annotated[int, Meta(ge=1)]


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """Settings of BEST-RQ; masks are in frames. The paper's: spans of 400 ms, started with probability 0.01
    at each 10 ms, one codebook of 8192 codes."""

    codebooks: Count = 1
    codes: Count = 8192
    code_dim: Count = 16
    projection: Projection = "random"
    start_probability: Annotated[float, Meta(gt=0, le=1)] = 0.04
    length: Count = 10
    noise: Annotated[float, Meta(ge=0)] = 0.1  # standard deviation of what stands in for a hidden frame
    quantizer_seed: int = 0

    def build(self, encoder: Encoder) -> "BestRQ":
        """ValueError: the front end learns, and with it the labels would move."""
        if any(parameter.requires_grad for parameter in encoder.frontend.parameters()):
            raise ValueError("best_rq: labels need a front end that does not learn: choose log_mel")
        return BestRQ(encoder, self)


class BestRQ(Objective):
    """See the head of this file."""

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        self.quantizer = RandomProjectionQuantizer(
            encoder.frontend.dim,
            config.code_dim,
            codebooks=config.codebooks,
            codes=config.codes,
            projection=config.projection,
            seed=config.quantizer_seed,
        )
        self.norm = nn.LayerNorm(encoder.context.dim)
        self.predict = nn.Linear(encoder.context.dim, config.codebooks * config.codes)

    @torch.no_grad()
    def prepare(self, batches: Iterable[Batch]) -> None:
        if self.config.projection == "pca":
            self.quantizer.fit(self._frames(batches))

    def _frames(self, batches: Iterable[Batch]) -> Iterator[Float[Tensor, "frames dim"]]:
        for batch in batches:
            frames = self.encoder.frontend(batch.inputs)
            yield frames.values[frames.mask]

    def forward(self, batch: Batch) -> Loss:
        frames = self.encoder.frontend(batch.inputs)
        generators = batch.generators()
        hidden = bernoulli_span_mask(
            frames.lengths,
            generators,
            start_probability=self.config.start_probability,
            length=self.config.length,
            time=frames.values.shape[1],
        )
        labels = self.quantizer(frames.values[hidden])
        noise = [
            torch.randn(count, self.encoder.frontend.dim, generator=generator)
            for count, generator in zip(hidden.sum(1).tolist(), generators, strict=True)
        ]
        values = frames.values.masked_scatter(
            hidden[:, :, None], self.config.noise * torch.cat(noise).to(frames.values)
        )
        context = self.encoder.context(self.encoder.project(Padded(values, frames.lengths))).last
        scores = self.predict(self.norm(context.values[hidden]))
        scores = scores.float().unflatten(-1, (self.config.codebooks, self.config.codes))
        losses = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="sum")
        used = torch.stack([perplexity(book, self.config.codes) for book in labels.T])
        metrics = {
            "accuracy": (scores.detach().argmax(-1) == labels).float().mean(),
            "code_perplexity": used.mean(),
            "code_use": code_use(used, self.config.codes, len(labels)),
            "hidden_share": hidden.sum() / frames.lengths.sum(),
        }
        return Loss(losses / self.config.codebooks, hidden.sum(), metrics)

    def signs(self) -> Sequence[Sign]:
        advice = (
            "labels are fixed, so that training cannot mend it: give frames of zero mean and unit variance "
            "(frontend.normalize: utterance), or look for silent audio"
        )
        return (few_codes(self.config.codes, advice, limit=FIXED),)
