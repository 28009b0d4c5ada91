"""A small objective with everything that makes resuming hard: dropout, masks from the utterances' generators,
a teacher that follows the encoder, a tied weight; and real speech to train it on."""

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import soundfile
import torch
from torch import Tensor, nn

from sonorant.encoders.base import Context, Encoder, Frontend
from sonorant.objective import Objective
from sonorant.train.average import Average
from sonorant.train.loop import Epochs, Step, TrainConfig, train
from sonorant.train.optim import adamw, named_state
from sonorant.train.schedule import ScheduleConfig
from sonorant.types import Batch, Hidden, Loss, Padded, pad

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech"
UTTERANCES = 12
STRIDE = 160


class Frames(Frontend):
    dim = STRIDE
    stride = STRIDE
    rate = 16000

    def forward(self, inputs: Padded) -> Padded:
        frames = inputs.values.shape[1] // STRIDE
        values = inputs.values[:, : frames * STRIDE].unflatten(1, (frames, STRIDE))
        return Padded(values, inputs.lengths // STRIDE)

    def frames(self, samples: int) -> int:
        return samples // STRIDE


class Pointwise(Context):
    dim = 16
    causal = True

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(self.dim, self.dim)
        self.norm = nn.LayerNorm(self.dim)

    def forward(self, frames: Padded) -> Hidden:
        return Hidden((self.norm(torch.tanh(self.inner(frames.values))),), frames.lengths)


class Denoise(Objective):
    """Gives masked frames back, and follows a slow copy of its own head."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__(Encoder(Frames(), Pointwise(), dropout=dropout))
        self.predict = nn.Linear(16, STRIDE)
        self.tied = nn.Linear(STRIDE, 16)
        self.tied.weight = self.encoder.projection.weight
        self.alias = self.tied
        self.idle = nn.Parameter(torch.ones(3, 3))
        self.teacher = copy.deepcopy(self.predict).requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def forward(self, batch: Batch) -> Loss:
        frames = self.encoder.frontend(batch.inputs)
        keep = torch.zeros(frames.values.shape[:2])
        for row, generator in enumerate(batch.generators()):
            keep[row] = torch.rand(10000, generator=generator)[: keep.shape[1]] > 0.4
        masked = Padded(frames.values * keep[..., None], frames.lengths)
        hidden = self.encoder.context(self.encoder.project(masked)).last.values
        hidden = hidden + self.tied(masked.values)
        target = self.teacher(hidden.detach()) + frames.values
        error = (self.predict(hidden) - target).square().mean(-1)[frames.mask]
        return Loss(error.sum(), frames.mask.sum(), {"size": hidden.abs().mean()})

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        self.updates += 1
        for slow, fast in zip(self.teacher.parameters(), self.predict.parameters(), strict=True):
            slow.lerp_(fast, 0.1)


def objective(seed: int = 0, dropout: float = 0.1) -> Denoise:
    torch.manual_seed(seed)
    return Denoise(dropout)


@cache
def waveforms() -> list[Tensor]:
    rows = [json.loads(line) for line in (SPEECH / "manifest.jsonl").read_text().splitlines()][:UTTERANCES]
    clips = [soundfile.read(SPEECH / row["path"], dtype="float32", frames=16000)[0] for row in rows]
    return [torch.from_numpy(clip) for clip in clips]


def batch(indices: list[int], epoch: int = 0) -> Batch:
    seeds = tuple(1000 * epoch + index for index in indices)
    return Batch(pad([waveforms()[index] for index in indices]), seeds)


def batches(epoch: int, start: int) -> Iterator[Batch]:
    """Five batches an epoch, in another order each time."""
    order = torch.randperm(UTTERANCES, generator=torch.Generator().manual_seed(epoch)).tolist()
    for first in range(2 * start, 10, 2):
        yield batch(order[first : first + 2], epoch)


def config(**settings: object) -> TrainConfig:
    defaults = {"steps": 9, "precision": "fp32", "schedule": ScheduleConfig(peak=1e-2)}
    return TrainConfig(**{**defaults, **settings})  # type: ignore[arg-type]


class Run:
    """An objective on its way."""

    def __init__(self, settings: TrainConfig, seed: int = 0) -> None:
        self.config = settings
        self.objective = objective(seed)
        self.optimizer = adamw(self.objective, settings.optimizer)
        self.average = Average(self.objective, settings.ema) if settings.ema is not None else None
        self.epochs = Epochs(batches)

    def train(self, start: int, stop: int) -> list[Step]:
        total = self.config.steps or 0
        steps = train(
            self.objective,
            self.optimizer,
            self.epochs,
            self.config,
            total=total,
            start=start,
            average=self.average,
        )
        return [next(steps) for _ in range(stop - start)]

    def state(self) -> dict[str, Tensor]:
        """Everything that training changes."""
        means = {} if self.average is None else self.average.weights
        slots = named_state(self.objective, self.optimizer)
        return {
            **{name: value.clone() for name, value in self.objective.state_dict().items()},
            **{f"mean of {name}": value.clone() for name, value in means.items()},
            **{name: value.clone() for name, value in slots.items()},
        }
