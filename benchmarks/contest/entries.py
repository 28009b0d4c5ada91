"""A contestant with a seed and a budget, and the folder in which its stages are kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contest.methods import Contestant
from contest.recognisers import Recogniser
from sonorant.evaluate.rows import Row
from sonorant.recipes.measuring import Measurer


@dataclass(frozen=True)
class Budget:
    """What each contestant may spend: processor minutes of each of so many processes."""

    pretraining: float
    finetuning: float
    processes: int


@dataclass(frozen=True)
class Entry:
    """A contestant with a seed: what it is trained on, where it is kept, and what it may spend."""

    contestant: Contestant
    seed: int
    corpus: Path
    root: Path  # of all contestants of this budget
    budget: Budget
    benchmark: str = "objectives"
    pretrained: Path | None = None  # the root of another corpus' contestants, whose networks are taken

    @property
    def folder(self) -> Path:
        return self.within(self.root)

    def within(self, root: Path) -> Path:
        """The folder of this contestant and seed below a root."""
        return root / f"seed{self.seed}" / self.contestant.name.replace(", ", "_").replace(" ", "_")

    def file(self, stage: str) -> Path:
        """Where a stage leaves its rows."""
        return self.folder / f"{stage}.jsonl"

    @property
    def upstream(self) -> Path:
        """The pretrained run that a recogniser is made of."""
        assert isinstance(self.contestant, Recogniser)
        return Path(self.contestant.upstream.replace("{seed}", str(self.seed)))

    @property
    def left(self) -> list[str]:
        """The stages that have not ended."""
        return [stage for stage in self.contestant.stages if not self.file(stage).exists()]

    def row(self, metric: str, value: float, task: str = "", **interval: Any) -> Row:
        measurer = Measurer(self.benchmark, self.seed)
        return measurer.row(self.contestant.name, task, metric, value, **interval)
