"""What a run tells: `metrics.jsonl`, TensorBoard if it is installed, and a line or a bar on the terminal."""

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sonorant.train import distributed
from sonorant.train.loop import Step

LINE_EVERY = 30.0  # seconds between lines where there is no terminal


class Log:
    """Writes a run's figures, on rank 0 only. Use it as a context manager.

    `metrics.jsonl` holds a row for every `every`-th step, for each skipped one and for the last; rows beyond
    `start`, left by a run that was interrupted after its last checkpoint, are dropped.
    """

    def __init__(
        self, run: Path, *, total: int, start: int = 0, every: int = 10, quiet: bool = False
    ) -> None:
        self._every = every
        self._total = total
        self._skipped = 0
        self._rows: IO[str] | None = None
        self._board: Any = None
        self._display = _Display(total, start, quiet=quiet or distributed.rank() != 0)
        if distributed.rank() == 0:
            run.mkdir(parents=True, exist_ok=True)
            truncate(run / "metrics.jsonl", start)
            self._rows = (run / "metrics.jsonl").open("a", encoding="utf8")
            self._board = _board(run, start)

    def __enter__(self) -> Self:
        self._display.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.close()
        if self._rows is not None:
            self._rows.close()
        if self._board is not None:
            self._board.close()

    def step(self, step: Step) -> None:
        """Takes in a step of training."""
        self._skipped += step.skipped
        self._display.show(step, self._skipped)
        if step.number % self._every == 0 or step.skipped or step.number == self._total:
            self.row(step.number, figures(step))

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """Writes figures that belong to a step, such as validation scores."""
        if self._rows is None:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._write({"step": step, **finite})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def tell(self, step: int, diagnosis: str) -> None:
        """Tells people what has happened to a run, even quiet ones, and writes a row of it."""
        if self._rows is None:
            return
        self._display.tell(f"step {step}: {diagnosis}")
        self._write({"step": step, "diagnosis": diagnosis})
        if self._board is not None:
            self._board.add_text("diagnosis", diagnosis, step)

    def _write(self, row: Mapping[str, Any]) -> None:
        assert self._rows is not None
        self._rows.write(json.dumps(row) + "\n")
        self._rows.flush()


def figures(step: Step) -> dict[str, float]:
    """A step's row of `metrics.jsonl`, without its number."""
    return {
        "loss": step.loss,
        "count": step.count,
        "learning_rate": step.learning_rate,
        "gradient_norm": step.gradient_norm,
        "audio_seconds": step.audio_seconds,
        "seconds": step.seconds,
        "waited": step.waited,
        "skipped": int(step.skipped),
        **step.metrics,
    }


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`; a last one that was cut short is left out."""
    rows = []
    for line in file.read_text(encoding="utf8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def truncate(file: Path, step: int) -> None:
    """Drops the rows beyond a step."""
    if not file.exists():
        return
    kept = [row for row in read_metrics(file) if row["step"] <= step]
    aside = file.with_suffix(".partial")
    aside.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf8")
    aside.replace(file)


def _board(run: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run / "tensorboard"), purge_step=start + 1 if start else None)


class _Display:
    """A bar on a terminal, a line now and then elsewhere, nothing if quiet. On the standard error."""

    def __init__(self, total: int, start: int, *, quiet: bool) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, completed=start, text="")
        self._total = total
        self._lines = not quiet and not self._console.is_terminal
        self._told = time.monotonic()

    def open(self) -> None:
        self._bar.start()

    def close(self) -> None:
        self._bar.stop()

    def tell(self, text: str) -> None:
        """A line, above the bar if there is one."""
        if self._bar.disable:
            print(text, file=sys.stderr, flush=True)
        else:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, step: Step, skipped: int) -> None:
        loss = f"loss {step.loss:.4f}" if step.count else "no target"
        text = f"{loss}  {step.audio_seconds / step.seconds:.0f} s of audio a second"
        if skipped:
            text += f"  {skipped} skipped"
        self._bar.update(self._task, completed=step.number, text=text)
        now = time.monotonic()
        if self._lines and (now - self._told >= LINE_EVERY or step.number == self._total):
            self._told = now
            print(f"step {step.number} of {self._total}  {text}", file=sys.stderr, flush=True)
