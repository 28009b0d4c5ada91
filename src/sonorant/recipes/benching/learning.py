"""One way to train a head on frozen features, whatever the task.

Only the layers' weights and the head learn. The learning rate is swept on a logarithmic scale and chosen by
the task's metric on the validation part, as is the check that is kept; ties go to the lower validation loss.
Training goes on while either of them gets better: a head may name nothing rightly for long while it learns,
as CTC writes blanks first. A rate that wins at an end of the scale is followed beyond it, so that no model is
judged by a scale that suits another one.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from sonorant.config import Config, ConfigError
from sonorant.data.manifest import Clip
from sonorant.nn.heads import WeightedLayers
from sonorant.recipes.benching.features import Features
from sonorant.task import HeadTask
from sonorant.train import distributed
from sonorant.types import Padded

LOWEST, HIGHEST = 1e-7, 1.0  # learning rates that are tried
VALUES = 2**26  # of padded frames of all layers in memory at once; larger batches come in pieces
ALIKE = 0.8  # of a piece's longest clip, which its others have at least
CLIP = 1.0  # the largest norm of the gradient
Count = Annotated[int, Meta(ge=1)]


class HeadConfig(Config, frozen=True, kw_only=True):
    """The budget of a head: the same for every upstream that is compared."""

    learning_rates: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    updates: Count = 2000  # at most
    checks: Count = 20  # on the validation part, evenly among the updates
    patience: Count = 5  # checks without a better metric or a lower loss before it stops
    batch: Count = 32  # clips an update
    width: Annotated[float, Meta(gt=0)] = 1.0  # of hidden layers, as a share of the published ones

    def __post_init__(self) -> None:
        if not self.learning_rates or not all(LOWEST <= rate <= HIGHEST for rate in self.learning_rates):
            raise ConfigError(
                f"learning_rates: {list(self.learning_rates)} (give some between {LOWEST:g} and {HIGHEST:g})"
            )


@dataclass(frozen=True)
class Sides:
    """The clips to fit on, to choose on, and to measure on."""

    train: Sequence[Clip]
    validation: Sequence[Clip]
    test: Sequence[Clip]


@dataclass(frozen=True)
class Learned:
    """A head at its best check: its parameters, the validation metric there, and after how many updates."""

    model: "Reader"
    value: float
    loss: float
    updates: int
    rate: float
    sweep: dict[float, float] = field(default_factory=dict)  # validation metric of each learning rate

    def better(self, other: "Learned | None", task: HeadTask) -> bool:
        if other is None:
            return True
        sign = 1 if task.higher else -1
        return (sign * self.value, -self.loss) > (sign * other.value, -other.loss)


class Reader(nn.Module):
    """The weighted sum of layers, and a head on it."""

    def __init__(self, layers: int, head: nn.Module) -> None:
        super().__init__()
        self.layers = WeightedLayers(layers)
        self.head = head

    def forward(self, layers: Float[Tensor, "layers batch time dim"], lengths: Tensor) -> Any:
        return self.head(Padded(self.layers(layers), lengths))


def sweep(
    task: HeadTask, features: Features, sides: Sides, *, head: str, seed: int, config: HeadConfig
) -> Learned:
    """The head of the best learning rate, and what each of them reached."""
    tried: dict[float, float] = {}
    best: Learned | None = None
    waiting = list(config.learning_rates)
    while waiting:
        for rate in waiting:
            learned = learn(task, features, sides, head=head, seed=seed, rate=rate, config=config)
            tried[rate] = learned.value
            if learned.better(best, task):
                best = learned
        waiting = [] if len(config.learning_rates) == 1 or best is None else _beyond(best.rate, tried)
    if best is None or not math.isfinite(best.loss):
        raise ConfigError(f"{task.title}: no learning rate of {sorted(tried)} gives a finite loss")
    return Learned(best.model, best.value, best.loss, best.updates, best.rate, dict(sorted(tried.items())))


def _beyond(rate: float, tried: Sequence[float] | dict[float, float]) -> list[float]:
    """The next rate where the best one lies at an end of what was tried."""
    further = []
    if rate == max(tried):
        further.append(float(f"{rate * 10:.6g}"))
    if rate == min(tried):
        further.append(float(f"{rate / 10:.6g}"))
    return [each for each in further if LOWEST <= each <= HIGHEST]


def learn(
    task: HeadTask,
    features: Features,
    sides: Sides,
    *,
    head: str,
    seed: int,
    rate: float,
    config: HeadConfig,
) -> Learned:
    """A head trained with Adam at this rate, as it was at its best check. All that is drawn follows from the
    seed."""
    device = distributed.device()
    best: Learned | None = None
    waited, lowest = 0, math.inf
    with _seeded(seed):
        model = Reader(len(features.layers), task.head(head, features.dim, config.width)).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
        batches = _batches(sides.train, config.batch, seed)
        checks = min(config.checks, config.updates)
        done = 0
        for check in range(1, checks + 1):
            model.train()
            while done < config.updates * check // checks:
                _update(task, features, model, optimizer, next(batches))
                done += 1
            value, loss = _validated(task, features, model, sides.validation, config.batch)
            better = Learned(model, value, loss, done, rate).better(best, task)
            if better:
                best = Learned(copy.deepcopy(model), value, loss, done, rate)
            waited = 0 if better or loss < lowest else waited + 1
            lowest = min(lowest, loss)
            if waited == config.patience or not math.isfinite(loss):
                break
    assert best is not None
    return best


def predict(
    task: HeadTask, features: Features, model: Reader, clips: Sequence[Clip], batch: int
) -> list[Any]:
    """What the head says about each clip."""
    return _evaluated(task, features, model, clips, batch)[0]


def _update(
    task: HeadTask,
    features: Features,
    model: Reader,
    optimizer: torch.optim.Optimizer,
    clips: Sequence[Clip],
) -> None:
    optimizer.zero_grad()
    count = 0
    for places in _pieces(features, clips, len(clips)):
        piece = [clips[place] for place in places]
        total, targets = task.loss(_output(features, model, piece), piece)
        total.backward()
        count += targets
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.div_(max(count, 1))
    norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    if norm.isfinite():
        optimizer.step()


def _validated(
    task: HeadTask, features: Features, model: Reader, clips: Sequence[Clip], batch: int
) -> tuple[float, float]:
    """The metric and the mean loss."""
    predictions, loss, count = _evaluated(task, features, model, clips, batch)
    loss = loss / max(count, 1)
    if not math.isfinite(loss):
        return (-math.inf if task.higher else math.inf), math.inf
    return task.score(clips, predictions)[0].value, loss


@torch.no_grad()
def _evaluated(
    task: HeadTask, features: Features, model: Reader, clips: Sequence[Clip], batch: int
) -> tuple[list[Any], float, int]:
    """The predictions of each clip, and the sum and the count of the loss."""
    model.eval()
    predictions: list[Any] = [None] * len(clips)
    loss, count = 0.0, 0
    for places in _pieces(features, clips, batch):
        piece = [clips[place] for place in places]
        output = _output(features, model, piece)
        total, targets = task.loss(output, piece)
        loss, count = loss + float(total), count + targets
        for place, prediction in zip(places, task.predictions(output), strict=True):
            predictions[place] = prediction
    return predictions, loss, count


def _output(features: Features, model: Reader, clips: Sequence[Clip]) -> Any:
    frames = features.read(clips)
    lengths = torch.tensor([each.shape[1] for each in frames])
    layers = torch.zeros(len(features.layers), len(frames), int(lengths.max()), features.dim)
    for row, each in enumerate(frames):
        layers[:, row, : each.shape[1]] = each
    device = next(model.parameters()).device
    return model(layers.to(device), lengths.to(device))


def _pieces(features: Features, clips: Sequence[Clip], most: int) -> Iterator[list[int]]:
    """The places of the clips in pieces of about one length, so that little is padding, of at most so many,
    and as small as memory asks for."""
    lengths = [features.length(clip) for clip in clips]
    piece: list[int] = []
    for place in sorted(range(len(clips)), key=lambda place: -lengths[place]):
        if piece:
            longest = max(1, lengths[piece[0]])
            room = min(most, VALUES // (len(features.layers) * features.dim * longest))
            if len(piece) >= room or lengths[place] < ALIKE * longest:
                yield piece
                piece = []
        piece.append(place)
    if piece:
        yield piece


def _batches(clips: Sequence[Clip], size: int, seed: int) -> Iterator[list[Clip]]:
    """Batches without end, shuffled anew in every epoch."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(clips), generator=generator).tolist()
        for start in range(0, len(order), size):
            yield [clips[place] for place in order[start : start + size]]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torch draws from this seed within, and goes on as before behind it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
