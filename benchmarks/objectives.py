"""Every self-supervised objective on the same speech at equal cost: one table, with a picture.

    python benchmarks/objectives.py                              # everything; 3.5 hours of two idle cores
    python benchmarks/objectives.py --methods apc "hubert, 2nd" --seeds 0 1 2        # or piece by piece
    python benchmarks/objectives.py --quick                      # two methods for seconds; nothing is written
    python benchmarks/objectives.py --upstream "Whisper tiny.en=whisper-tiny.en"     # a published model

Each contestant is pretrained on the Amazon Queen's untranscribed recordings for --minutes with --processes,
measured, and fine-tuned on ten minutes of transcripts for --finetune-minutes. Minutes are processor minutes
of each process: on a busy machine they last longer and mean as many updates. Stages are kept in folders of
--out: what has ended is not repeated, what was interrupted goes on. Rows are added to
results/objectives-DATE.jsonl after each stage, in place of those of the same contestant, seed and metric, and
the page and the picture beside it are made anew of all rows. --file names the table of another day, to go on
with it. Published models (docs/upstreams.md) are measured and not fine-tuned.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from contest.entries import Budget, Entry
from contest.methods import Contestant, contestants, known, published
from contest.page import check, keep
from contest.stages import stage_rows
from sonorant import corpora
from sonorant.config import ConfigError
from sonorant.data.manifest import Clip, read, write

HERE = Path(__file__).parent
RESULTS, SPEECH = HERE / "results", HERE.parent / "tests" / "fixtures" / "speech"
OTHER = {"pretrain": 0.5, "measure": 2.0, "finetune": 0.5}  # minutes beside training, about, on two cores
QUICK = ("apc", "best_rq")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", help="contestants; all unless given", metavar="NAME")
    parser.add_argument(
        "--upstream", nargs="+", default=[], metavar="NAME=FOLDER",
        help="published models, alone unless --methods names others",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="of pretraining, by the processors")
    parser.add_argument("--finetune-minutes", type=float, default=2.0)
    parser.add_argument("--processes", type=int, default=2, help="that train together, each on a core")
    parser.add_argument("--corpus", type=Path, default=Path("demo/corpus"), help="fetched if not there")
    parser.add_argument("--out", type=Path, default=Path("runs/objectives"), help="where stages are kept")
    parser.add_argument(
        "--file", type=Path, default=RESULTS / f"objectives-{datetime.now(UTC):%Y-%m-%d}.jsonl"
    )
    parser.add_argument("--quick", action="store_true", help="some seconds on fixtures; nothing is written")
    options = parser.parse_args()
    try:
        others = published(options.upstream)
    except ConfigError as error:
        parser.error(str(error))
    wanted = options.methods or ([] if others else QUICK if options.quick else known())
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            sys.exit(quick(Path(folder), wanted, others))
    budget = Budget(options.minutes, options.finetune_minutes, options.processes)
    root = options.out / f"{options.minutes:g}min-{options.finetune_minutes:g}min-x{options.processes}"
    try:
        check(options.file, budget)
        chosen = entries(wanted, options.seeds, options.corpus, root, budget, others)
    except ValueError as error:
        parser.error(str(error))
    print(plan(chosen), flush=True)
    if not (options.corpus / "all.jsonl").exists():
        corpora.fetch("queen", options.corpus)
    sys.exit(contest(chosen, options.file))


def entries(
    wanted: Sequence[str],
    seeds: Sequence[int],
    corpus: Path,
    root: Path,
    budget: Budget,
    others: Sequence[Contestant] = (),
) -> list[Entry]:
    """Each contestant with each seed, all contestants of a seed before the next. ConfigError: a name is not
    known, or a budget is nothing."""
    if min(budget.pretraining, budget.finetuning, budget.processes) <= 0:
        raise ConfigError("--minutes, --finetune-minutes and --processes are above 0")
    found = [*contestants(wanted), *others]
    corpus, root = corpus.resolve(), root.resolve()
    return [Entry(each, seed, corpus, root, budget) for seed in seeds for each in found]


def plan(chosen: Sequence[Entry]) -> str:
    """What is left to do and about how long it will take."""
    lines, total = [], 0.0
    for entry in chosen:
        minutes = {stage: _minutes(entry.budget, stage) for stage in entry.left}
        total += sum(minutes.values())
        told = ", ".join(f"{stage} {length:g} min" for stage, length in minutes.items()) or "done"
        lines.append(f"{entry.contestant.name}, seed {entry.seed}: {told}")
    return "\n".join([*lines, f"about {total / 60:.1f} hours in all"])


def _minutes(budget: Budget, stage: str) -> float:
    training = {"pretrain": budget.pretraining, "finetune": budget.finetuning}
    return training.get(stage, 0.0) + OTHER[stage]


def contest(chosen: Sequence[Entry], file: Path) -> int:
    """Goes through all stages of all; one that fails is told, and the next goes on. Gives the exit code."""
    failed = 0
    for entry in chosen:
        try:
            for stage in entry.contestant.stages:
                keep(file, stage_rows(entry, stage), entry.budget, known())
        except ValueError as error:  # settings, training that came to nothing, a process that is gone
            failed = 1
            print(f"{entry.contestant.name}, seed {entry.seed}: {error}", file=sys.stderr, flush=True)
    return failed


def quick(folder: Path, wanted: Sequence[str], others: Sequence[Contestant]) -> int:
    """All stages of a few contestants for seconds, on fixtures; prints the page."""
    budget = Budget(pretraining=0.05, finetuning=0.05, processes=1)
    chosen = entries(wanted, [0], small_corpus(folder / "corpus"), folder / "runs", budget, others)
    print(plan(chosen), flush=True)
    file = folder / "objectives-quick.jsonl"
    failed = contest(chosen, file)
    if not failed:
        print(file.with_suffix(".md").read_text(encoding="utf8"))
    return failed


def small_corpus(folder: Path) -> Path:
    """The test fixtures in the parts that the Queen has. Letters, spread evenly, stand for phones: figures
    mean nothing, but all of them come about."""
    clips = read(SPEECH / "manifest.jsonl")
    train, held_out = list(clips)[::2], list(clips)[1::2]
    parts = {
        "all": clips,
        "untranscribed": train,
        "paired-10m": train,
        "dev": held_out,
        "test": held_out,
        "paired-1h-phones": [spelled(clip) for clip in train],
        "test-phones": [spelled(clip) for clip in held_out],
    }
    folder.mkdir(parents=True)
    for name, part in parts.items():
        write(folder / f"{name}.jsonl", part)
    return folder


def spelled(clip: Clip) -> Clip:
    """The clip with its letters as units, evenly spread."""
    letters = [letter for letter in (clip.text or "").lower() if letter.isalpha()]
    step = clip.seconds / max(1, len(letters))
    units = [(letter, place * step, (place + 1) * step) for place, letter in enumerate(letters)]
    return msgspec.structs.replace(clip, units=units)


if __name__ == "__main__":
    main()
