"""The linear probe: multinomial logistic regression on standardised frames."""

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


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe, and the validation cross-entropy in nats of each learning rate that was tried."""

    standardize: Standardizer
    weight: Float[Tensor, "dim labels"]
    bias: Float[Tensor, " labels"]
    learning_rate: float
    sweep: dict[float, float]

    def log_probabilities(self, frames: Float[Tensor, "n dim"]) -> Float[Tensor, "n labels"]:
        logits = torch.addmm(self.bias, self.standardize(frames), self.weight)
        return logits.log_softmax(1)


def fit(train: Examples, validation: Examples, *, classes: int, config: ProbeConfig) -> LinearProbe:
    """The probe of the learning rate and the check with the lowest validation cross-entropy.

    It starts, and may end, at the frequencies of the labels in training: with frames that tell nothing it
    costs no more than those frequencies do. Deterministic from the configuration's seed.
    """
    standardize = standardizer(train.frames)
    train = replace(train, frames=standardize(train.frames))
    validation = replace(validation, frames=standardize(validation.frames))
    counts = torch.bincount(train.labels, minlength=classes) + 1.0  # one more: no label is impossible
    prior = (counts / counts.sum()).log()
    found = {
        rate: _descend(train, validation, prior=prior, rate=rate, config=config)
        for rate in config.learning_rates
    }
    rate = min(found, key=lambda rate: found[rate].cost)
    sweep = {rate: point.cost for rate, point in found.items()}
    return LinearProbe(standardize, found[rate].weight, found[rate].bias, rate, sweep)


@dataclass(frozen=True)
class _Point:
    """Where a descent stands: its weights and what they cost on the validation part."""

    weight: Float[Tensor, "dim labels"]
    bias: Float[Tensor, " labels"]
    cost: float


def _descend(
    train: Examples,
    validation: Examples,
    *,
    prior: Float[Tensor, " labels"],
    rate: float,
    config: ProbeConfig,
) -> _Point:
    """Adam with a rate that falls to zero as a cosine: the point where the validation cost was lowest."""
    weight = torch.zeros(train.frames.shape[1], len(prior), requires_grad=True)
    bias = prior.clone().requires_grad_()
    optimizer = torch.optim.Adam([weight, bias], lr=rate, fused=True)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.updates)
    generator = torch.Generator().manual_seed(config.seed)
    best = _point(weight, bias, validation)
    waited = 0
    for check in range(config.checks):
        for _ in range(
            config.updates * check // config.checks, config.updates * (check + 1) // config.checks
        ):
            chosen = torch.randint(len(train.frames), (config.batch,), generator=generator)
            loss = F.cross_entropy(torch.addmm(bias, train.frames[chosen], weight), train.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
        point = _point(weight, bias, validation)
        best, waited = (point, 0) if point.cost < best.cost else (best, waited + 1)
        if waited == config.patience:
            break
    return best


def _point(weight: Tensor, bias: Tensor, validation: Examples) -> _Point:
    weight, bias = weight.detach().clone(), bias.detach().clone()
    logits = torch.addmm(bias, validation.frames, weight)
    return _Point(weight, bias, F.cross_entropy(logits, validation.labels).item())
