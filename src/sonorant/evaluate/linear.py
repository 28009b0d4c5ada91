"""Probes on standardised frames: multinomial logistic regression, or the same behind one hidden layer.

What a linear probe reads is what is there in plain sight; what one hidden layer reads beyond it is there too,
but has to be worked out. Which of two models is ahead may depend on the probe: S. Zaiem et al., 2023,
https://arxiv.org/abs/2306.00452.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from sonorant.config import Config
from sonorant.evaluate.sampling import Examples

CONSTANT = 1e-5  # a dimension that varies by less of its size is constant: what is left of it is rounding


class ProbeConfig(Config, frozen=True, kw_only=True):
    """The budget of a probe: the same for every layer and model that are compared."""

    frames: int = 200_000  # at most so many to fit on and to measure on, and an eighth to validate on
    learning_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3, 1e-2)  # swept on the validation part
    updates: int = 2000  # at most
    checks: int = 24  # on the validation part, evenly among the updates
    patience: int = 3  # checks without a better validation cross-entropy before it stops
    batch: int = 512  # frames an update, drawn with replacement
    hidden: int | None = None  # units of the hidden layer (ReLU); null: none, the probe is linear
    seed: int = 0


@dataclass(frozen=True)
class Standardizer:
    """Shift and scale to mean 0 and deviation 1 of the frames it was fitted on; constant dimensions to 0."""

    mean: Float[Tensor, " dim"]
    scale: Float[Tensor, " dim"]

    def __call__(self, frames: Float[Tensor, "n dim"]) -> Float[Tensor, "n dim"]:
        return (frames - self.mean) * self.scale


def standardizer(frames: Float[Tensor, "n dim"]) -> Standardizer:
    deviation, mean = torch.std_mean(frames, 0, correction=0)
    constant = deviation <= CONSTANT * mean.abs()
    scale = torch.where(constant, 0, 1 / deviation.masked_fill(constant, 1))
    return Standardizer(mean, scale)


Parameters = tuple[Tensor, ...]  # of each layer weight (inputs first) and bias


def logits(frames: Float[Tensor, "n dim"], parameters: Sequence[Tensor]) -> Float[Tensor, "n labels"]:
    *hidden, weight, bias = parameters
    if hidden:
        frames = torch.addmm(hidden[1], frames, hidden[0]).relu()
    return torch.addmm(bias, frames, weight)


@dataclass(frozen=True)
class Probe:
    """A fitted probe, and the validation cross-entropy in nats of each learning rate that was tried."""

    standardize: Standardizer
    parameters: Parameters
    learning_rate: float
    sweep: dict[float, float]

    def log_probabilities(self, frames: Float[Tensor, "n dim"]) -> Float[Tensor, "n labels"]:
        return logits(self.standardize(frames), self.parameters).log_softmax(1)


def fit(
    train: Examples,
    validation: Examples,
    *,
    classes: int,
    config: ProbeConfig,
    places: Float[Tensor, "classes rank"] | None = None,
) -> Probe:
    """The probe of the learning rate and the check with the lowest validation cross-entropy.

    It starts, and may end, at the frequencies of the labels in training: with frames that tell nothing it
    costs no more than those frequencies do. Deterministic from the configuration's seed. With `places` the
    weights of a class are a linear function of where it lies, the same for all: `rank` directions of the
    frames are learned in place of one for each class.
    """
    standardize = standardizer(train.frames)
    train = replace(train, frames=standardize(train.frames))
    validation = replace(validation, frames=standardize(validation.frames))
    counts = torch.bincount(train.labels, minlength=classes) + 1.0  # one more: no label is impossible
    prior = (counts / counts.sum()).log()
    found = {
        rate: _descend(train, validation, prior=prior, places=places, rate=rate, config=config)
        for rate in config.learning_rates
    }
    rate = min(found, key=lambda rate: found[rate].cost)
    sweep = {rate: point.cost for rate, point in found.items()}
    return Probe(standardize, found[rate].parameters, rate, sweep)


@dataclass(frozen=True)
class _Point:
    """Where a descent stands: its parameters and what they cost on the validation part."""

    parameters: Parameters
    cost: float


def _descend(
    train: Examples,
    validation: Examples,
    *,
    prior: Float[Tensor, " labels"],
    places: Float[Tensor, "labels rank"] | None,
    rate: float,
    config: ProbeConfig,
) -> _Point:
    """Adam with a rate that falls to zero as a cosine: the point where the validation cost was lowest."""
    generator = torch.Generator().manual_seed(config.seed)
    width = len(prior) if places is None else places.shape[1]
    parameters = _start(train.frames.shape[1], width, prior, config.hidden, generator)

    def spread() -> list[Tensor]:
        *others, weight, bias = parameters
        return [*others, weight if places is None else weight @ places.T, bias]

    optimizer = torch.optim.Adam(parameters, lr=rate, fused=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.updates)
    best = _point(spread(), validation)
    waited = 0
    for check in range(config.checks):
        for _ in range(
            config.updates * check // config.checks, config.updates * (check + 1) // config.checks
        ):
            chosen = torch.randint(len(train.frames), (config.batch,), generator=generator)
            loss = F.cross_entropy(logits(train.frames[chosen], spread()), train.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
        point = _point(spread(), validation)
        best, waited = (point, 0) if point.cost < best.cost else (best, waited + 1)
        if waited == config.patience:
            break
    return best


def _start(
    dim: int, width: int, prior: Float[Tensor, " labels"], hidden: int | None, generator: torch.Generator
) -> list[Tensor]:
    """Parameters that give the frequencies of the labels whatever the frame; hidden units as in He, 2015."""
    parameters = [torch.zeros(hidden or dim, width), prior.clone()]
    if hidden:
        weight = torch.randn(dim, hidden, generator=generator) * math.sqrt(2 / dim)
        parameters = [weight, torch.zeros(hidden), *parameters]
    return [each.requires_grad_() for each in parameters]


@torch.no_grad()
def _point(parameters: Sequence[Tensor], validation: Examples) -> _Point:
    kept = tuple(each.detach().clone() for each in parameters)
    return _Point(kept, F.cross_entropy(logits(validation.frames, kept), validation.labels).item())
