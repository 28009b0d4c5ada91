"""A benchmark of frozen upstreams on one's own data, as SUPERB has it, each head with a sweep and with
seeds."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import torch
from msgspec import Meta

from sonorant.config import Config
from sonorant.data.manifest import Clip
from sonorant.encoders import base
from sonorant.evaluate.ratios import Measured
from sonorant.recipes.benching import results
from sonorant.recipes.benching.data import Problem, problems
from sonorant.recipes.benching.features import Features, features
from sonorant.recipes.benching.learning import HeadConfig, Learned, Sides, learn, predict, sweep
from sonorant.recipes.benching.results import Cell, Fit
from sonorant.recipes.benching.upstream import Upstream, fingerprint, upstreams
from sonorant.recipes.measuring import Measurer
from sonorant.recipes.sections.leaderboard import write_leaderboard
from sonorant.task import HeadTask, LayerTask

Say = Callable[[str], None]
Progress = Callable[[int, int], None]


class BenchConfig(Config, frozen=True, kw_only=True):
    """What is measured on what."""

    out: str
    upstreams: tuple[str, ...]
    data: tuple[str, ...]
    tasks: tuple[str, ...] | None = None  # null: all that the data allow
    seeds: Annotated[int, Meta(ge=1)] = 3
    heads: Literal["both", "paper"] = "both"
    precision: str = "auto"  # of the upstream; heads are trained in single precision
    head: HeadConfig = HeadConfig()


def bench(config: BenchConfig, *, say: Say = print, progress: Progress | None = None) -> list[Fit]:
    """Measures what is not measured yet, and gives all of what was asked for.

    ConfigError: upstreams, tasks and data do not go together.
    """
    folder = Path(config.out)
    named = upstreams(config.upstreams)
    found = problems(config.tasks, config.data, folder / "audio", say=say)
    book = Book(folder, {fit.cell: fit for fit in results.load(folder)})
    settings = {problem.name: _setting(config, problem) for problem in found}
    for name, count in book.compare(settings).items():
        say(f"{name}: other data or settings than before: {count} earlier figures are dropped")
    measured: list[Fit] = []
    for upstream in named:
        model = upstream.load()
        content = fingerprint(upstream, model)
        for problem in found:
            subject = Subject(upstream, model, content, problem, settings[problem.name])
            measured += _measured(config, subject, book, say=say, progress=progress)
        write_leaderboard(folder, list(book.fits.values()))
    return measured


@dataclass(frozen=True)
class Outcome:
    """A cell's figures, and how they came about: one rate, sweep and number of updates a split."""

    measured: list[Measured]
    rates: list[float]
    sweeps: list[dict[str, float]]
    updates: list[int]
    weights: dict[str, float]  # of layers


@dataclass
class Book:
    """What is measured already, and where it is written."""

    folder: Path
    fits: dict[Cell, Fit]
    measurer: Measurer = field(default_factory=lambda: Measurer("bench"))

    def compare(self, settings: Mapping[str, str]) -> Counter[str]:
        """Drops what was measured on other data or with other settings; how many figures of each task."""
        other = [fit for fit in self.fits.values() if fit.setting != settings.get(fit.task, fit.setting)]
        for fit in other:
            del self.fits[fit.cell]
        return Counter(fit.task for fit in other)

    def done(self, cell: Cell, content: str) -> Fit | None:
        """The cell's figures, if they are of this model."""
        fit = self.fits.get(cell)
        return fit if fit is not None and fit.content == content else None

    def add(self, fit: Fit) -> None:
        self.fits[fit.cell] = fit
        results.save(self.folder, list(self.fits.values()))

    def fit(self, cell: Cell, subject: "Subject", outcome: Outcome, seconds: float) -> Fit:
        """What is kept of a cell."""
        kind = subject.problem.task
        task = kind.title if cell.head is None else f"{kind.title}, {cell.head} head"
        rows = [
            self.measurer.row(
                cell.upstream,
                task,
                each.metric,
                each.value,
                low=each.low,
                high=each.high,
                n=each.n,
                seconds=seconds,
            )
            for each in outcome.measured
        ]
        return Fit(
            upstream=cell.upstream,
            task=cell.task,
            title=kind.title,
            head=cell.head,
            seed=cell.seed,
            content=subject.content,
            setting=subject.setting,
            higher=kind.higher,
            over=outcome.measured[0].over,
            rates=outcome.rates,
            sweeps=outcome.sweeps,
            updates=outcome.updates,
            layers=list(outcome.weights),
            weights=list(outcome.weights.values()),
            rows=[msgspec.structs.replace(row, seed=cell.seed) for row in rows],
        )


@dataclass(frozen=True)
class Subject:
    """An upstream in a task."""

    upstream: Upstream
    model: base.Upstream
    content: str  # of the model
    problem: Problem
    setting: str

    def frames(self, config: BenchConfig, progress: Progress | None) -> Features:
        return features(
            self.model,
            self.content,
            self.problem.clips,
            Path(config.out) / "features",
            precision=config.precision,
            progress=progress,
        )


def _measured(
    config: BenchConfig, subject: Subject, book: Book, *, say: Say, progress: Progress | None
) -> Iterator[Fit]:
    """An upstream in a task, with every head and seed. Each head's first seed finds the learning rates."""
    frames: Features | None = None
    rates: dict[str | None, list[float]] = {}
    for cell in _cells(config, subject):
        fit = book.done(cell, subject.content)
        if fit is None:
            frames = frames or subject.frames(config, progress)
            started = time.perf_counter()
            outcome = _outcome(cell, subject.problem, frames, rates.get(cell.head), config.head)
            fit = book.fit(cell, subject, outcome, time.perf_counter() - started)
            book.add(fit)
            row = fit.rows[0]
            say(f"{row.subject}: {row.task}, seed {row.seed}: {row.metric} {row.value:.4g}")
        rates.setdefault(cell.head, fit.rates)
        yield fit


def _setting(config: BenchConfig, problem: Problem) -> str:
    """What figures of a task have to share in order to compare: clips, parts and budget."""
    digest = hashlib.blake2b(f"{config.precision} {problem.name} ".encode(), digest_size=8)
    digest.update(msgspec.json.encode(config.head))
    for clip in problem.clips:
        digest.update(msgspec.json.encode(clip))
    digest.update(repr(problem.parts).encode())
    return digest.hexdigest()


def _cells(config: BenchConfig, subject: Subject) -> list[Cell]:
    task, names = subject.problem.task, (subject.upstream.name, subject.problem.name)
    if not issubclass(task, HeadTask):
        return [Cell(*names, None, 0)]
    heads = task.heads[:1] if config.heads == "paper" else task.heads
    return [Cell(*names, head, seed) for head in heads for seed in range(config.seeds)]


def _outcome(
    cell: Cell, problem: Problem, frames: Features, rates: Sequence[float] | None, config: HeadConfig
) -> Outcome:
    """A cell's figures; without `rates` the learning rates are swept."""
    kind = problem.task
    if issubclass(kind, HeadTask) and cell.head is not None:
        return _with_head(kind, cell.head, cell.seed, problem.sides(), frames, rates, config)
    assert issubclass(kind, LayerTask)
    (sides,) = problem.sides()
    return _of_layers(kind, sides, frames)


def _with_head(
    kind: type[HeadTask],
    head: str,
    seed: int,
    splits: Sequence[Sides],
    frames: Features,
    rates: Sequence[float] | None,
    config: HeadConfig,
) -> Outcome:
    """The test clips of all splits together, each with the head of its split."""
    learned: list[Learned] = []
    clips: list[Clip] = []
    predictions: list[Any] = []
    for place, sides in enumerate(splits):
        task = kind(sides.train, frames.times)
        if rates is None:
            found = sweep(task, frames, sides, head=head, seed=seed, config=config)
        else:
            found = learn(task, frames, sides, head=head, seed=seed, rate=rates[place], config=config)
        learned.append(found)
        clips += sides.test
        predictions += predict(task, frames, found.model, sides.test, config.batch)
    weights = torch.stack([each.model.layers.weights.detach().cpu() for each in learned]).mean(0)
    return Outcome(
        measured=task.score(clips, predictions),
        rates=[each.rate for each in learned],
        sweeps=[{f"{rate:g}": value for rate, value in each.sweep.items()} for each in learned if each.sweep],
        updates=[each.updates for each in learned],
        weights=dict(zip(frames.layers, weights.tolist(), strict=True)),
    )


def _of_layers(kind: type[LayerTask], sides: Sides, frames: Features) -> Outcome:
    """The layer that is best on the validation part, on the test part."""

    def score(layer: str, clips: Sequence[Clip]) -> list[Measured]:
        others = frames.layer(layer, sides.train)
        return kind.score(clips, sides.train, frames.layer(layer, clips), others)

    values = {layer: score(layer, sides.validation)[0].value for layer in frames.layers}
    best = (max if kind.higher else min)(values, key=lambda layer: values[layer])
    weights = {layer: float(layer == best) for layer in frames.layers}
    return Outcome(score(best, sides.test), rates=[], sweeps=[values], updates=[], weights=weights)
