"""The options that contests share, and a contest as they ask for it."""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from contest.entries import Entry
from contest.keeping import Show
from contest.running import plan, run
from contest.small import small_corpus
from sonorant import corpora

SPLIT = ("queen", "festvox_ru")  # corpora that come with a low-resource split
RESULTS = Path(__file__).parents[1] / "results"


def parser(
    about: str, *, name: str, minutes: str = "of pretraining, by the processors"
) -> argparse.ArgumentParser:
    """The options of a contest of this name; a script adds its own."""
    options = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, nargs="+", default=[0])
    options.add_argument("--minutes", type=float, default=5.0, help=minutes)
    options.add_argument("--processes", type=int, default=2, help="that train together, each on a core")
    options.add_argument("--corpus", type=Path, default=Path("demo/corpus"), help="fetched if not there")
    options.add_argument("--speech", choices=SPLIT, default=SPLIT[0], help="which one that is")
    options.add_argument("--out", type=Path, default=Path("runs") / name, help="where stages are kept")
    file = RESULTS / f"{name}-{datetime.now(UTC):%Y-%m-%d}.jsonl"
    options.add_argument("--file", type=Path, default=file, help="of rows, to which these are added")
    options.add_argument("--quick", action="store_true", help="some seconds on fixtures; nothing is written")
    return options


def hold(options: argparse.Namespace, chosen: Sequence[Entry], show: Show) -> int:
    """Tells the plan and carries it out. Gives the exit code."""
    print(plan(chosen), flush=True)
    if not (options.corpus / "all.jsonl").exists():
        corpora.fetch(options.speech, options.corpus)
    return run(chosen, options.file, show)


def hold_quickly(entries: Callable[[Path, Path], Sequence[Entry]], show: Show) -> int:
    """The stages of entries of a corpus, kept in a folder, on fixtures; prints the page and keeps nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = entries(small_corpus(folder / "corpus"), folder / "runs")
        print(plan(chosen), flush=True)
        file = folder / "quick.jsonl"
        failed = run(chosen, file, show)
        if not failed:
            print(file.with_suffix(".md").read_text(encoding="utf8"))
        return failed
