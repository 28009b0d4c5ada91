"""What the commands share: option types, a progress bar, and how results, mistakes and failures are told."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

FAILURE, MISTAKE, INTERRUPTED = 1, 2, 130

# By name, so that telling them needs no torch.
FAILURES = ("CheckpointError", "CollapsedError", "DivergedError", "ProcessError", "SpeechError")

# What the operating system says when a path is wrong; the rest, such as a full disk, is no user's mistake.
WRONG_PATHS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)

Number = TypeVar("Number", int, float)

Out = Annotated[Path, typer.Option("--out", "-o", help="Where to write.")]
Rows = Annotated[Path | None, typer.Option("--out", "-o", help="Append the rows to this file (.jsonl).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on the standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Layers = Annotated[list[str] | None, typer.Option(help="Only this layer; may be repeated. Default: all.")]
Precision = Annotated[
    str, typer.Option(help="auto, fp32, bf16 or int8; auto is bf16 where the processor is faster in it.")
]
LanguageModel = Annotated[
    Path | None, typer.Option(help="A language model that `lm` (ARPA) or `neural-lm` (a folder) wrote.")
]
LanguageWeight = Annotated[float, typer.Option(min=0, help="How much it counts; see `tune`.")]
WordBonus = Annotated[float, typer.Option(help="For each word, with --lm; see `tune`.")]
HotWords = Annotated[str | None, typer.Option(help="Words to expect, with commas between.")]
Configuration = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped configuration.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Settings laid over the configuration's."),
]


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Ends the process with 2 after a user's mistake and with 1 after a failure, each told in one line."""

    try:
        yield
    except ValueError as error:
        print(f"sonorant: {' '.join(str(error).splitlines())}", file=sys.stderr)
        raise SystemExit(FAILURE if type(error).__name__ in FAILURES else MISTAKE) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"sonorant: {where}{error.strerror or error}", file=sys.stderr)
        raise SystemExit(MISTAKE if isinstance(error, WRONG_PATHS) else FAILURE) from None


@contextmanager
def continuable(last: str = "checkpoint") -> Iterator[None]:
    """Tells who presses Ctrl-C that nothing up to the last checkpoint, or what else is kept, is lost."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on from the last {last}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def progress(what: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left on a terminal, nothing elsewhere; yields `show(done, total)`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = quiet or not console.is_terminal
    # What is printed meanwhile goes above the bar, unless it goes somewhere else: there it has to arrive.
    together = sys.stdout.isatty()
    with Progress(*columns, console=console, disable=hidden, redirect_stdout=together) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def tell_skipped(skipped: Iterable[tuple[str, str]]) -> None:
    """A line for each file that is left out, and why."""
    for path, reason in skipped:
        print(f"skipped {path}: {reason.removeprefix(f'{path}: ')}", file=sys.stderr)


def show(value: Any, as_json: bool, text: str) -> None:
    """Prints a result as JSON or as text; of torchrun's processes the first one speaks."""
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(value, ensure_ascii=False) if as_json else text)


def summary(clips: Sequence[Any]) -> dict[str, Any]:
    """How many clips and hours, and how many have a text."""
    texts = sum(clip.text is not None for clip in clips)
    hours = sum(clip.seconds for clip in clips) / 3600
    return {"clips": len(clips), "hours": round(hours, 3), "with text": texts}


def numbers(
    option: str, text: str | None, kind: Callable[[str], Number], default: Sequence[Number]
) -> Sequence[Number]:
    """Those of a text with commas between them. ValueError: one of them is none."""
    try:
        return default if text is None else tuple(kind(each) for each in text.split(","))
    except ValueError:
        raise ValueError(f"{option}: {text!r} are no numbers (give them with commas between)") from None


def lines(values: Mapping[str, Any]) -> str:
    """`key: value` a line."""
    return "\n".join(f"{key}: {value}" for key, value in values.items())


def plain(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows as JSON has them."""
    import msgspec

    result: list[dict[str, Any]] = msgspec.to_builtins(rows)
    return result
