"""What a pretrained encoder is worth to a recogniser, and what the ways to use it are worth, on few labels.

    python benchmarks/recognisers.py --upstream "runs/demo-seed{seed}" --seeds 0 1 2    # everything
    python benchmarks/recognisers.py --upstream RUN --kinds ctc --labels 10m            # or piece by piece
    python benchmarks/recognisers.py --quick                     # two of them for seconds; nothing is kept

Of a pretrained run (one for each seed where its path has `{seed}`) recognisers are made in several ways,
from scratch among them, with ten minutes and with an hour of the Amazon Queen's transcripts
(paired-10m.jsonl and paired-1h.jsonl of --corpus), and measured on its test part, alone and with an n-gram
language model of the text that may be used (unpaired-text.txt and the transcripts). --minutes are processor
minutes of each of --processes, measured where all is trained, so that other work on the machine changes no
number of updates. Stages are kept in folders of --out: what has ended is not repeated, what was interrupted
goes on. Rows are added to results/recognisers-DATE.jsonl after each stage, in place of those of the same
recogniser, seed and metric, and the page beside it is made anew of all rows. --file names the table of
another day, to go on with.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from contest.command import hold, hold_quickly, parser
from contest.entries import Budget, Entry
from contest.keeping import check
from contest.recogniser_page import show
from contest.recognisers import ARMS, KINDS, LABELS, recognisers
from sonorant.config import ConfigError, convert, load
from sonorant.recipes.pretrain import pretrain
from sonorant.recipes.settings import PretrainConfig
from sonorant.recipes.shipped import shipped

SECONDS = Budget(pretraining=0, finetuning=0.02, processes=1)
ALL = {"kinds": KINDS, "labels": LABELS, "arms": tuple(ARMS)}
QUICK = {"kinds": ("ctc",), "labels": ("10m",), "arms": ("frozen", "fine-tuned")}


def main() -> None:
    command = parser(__doc__, name="recognisers", minutes="of training, by the processors")
    command.add_argument("--upstream", help="a pretrained run; {seed} stands for each seed", metavar="RUN")
    for name, values in ALL.items():
        command.add_argument(f"--{name}", nargs="+", help=f"all unless given: {'; '.join(values)}")
    options = command.parse_args()
    usual = QUICK if options.quick else ALL
    wanted = {name: getattr(options, name) or values for name, values in usual.items()}
    if options.quick:
        sys.exit(hold_quickly(partial(quick, wanted), show))
    budget = Budget(0, options.minutes, options.processes)
    root = options.out / f"{options.minutes:g}min-x{options.processes}"
    try:
        if options.upstream is None:
            raise ConfigError("--upstream: a pretrained run is needed (sonorant pretrain FOLDER --budget 1h)")
        check(options.file, budget)
        chosen = entries(wanted, options.seeds, budget, options.corpus, root, upstream=options.upstream)
    except ValueError as error:
        command.error(str(error))
    sys.exit(hold(options, chosen, show))


def entries(
    wanted: dict[str, Sequence[str]],
    seeds: Sequence[int],
    budget: Budget,
    corpus: Path,
    root: Path,
    *,
    upstream: str,
) -> list[Entry]:
    """Each recogniser with each seed, all of a seed before the next. ConfigError: a name is not known, a run
    is not there, or a budget is nothing."""
    if min(budget.finetuning, budget.processes) <= 0:
        raise ConfigError("--minutes and --processes are above 0")
    corpus, root = corpus.resolve(), root.resolve()
    found = list(recognisers(**wanted, upstream=upstream))
    for seed in seeds:
        if not (run := Path(upstream.replace("{seed}", str(seed)))).exists():
            raise ConfigError(f"--upstream: {run}: no such run")
    return [Entry(each, seed, corpus, root, budget, "recognisers") for seed in seeds for each in found]


def quick(wanted: dict[str, Sequence[str]], corpus: Path, root: Path) -> list[Entry]:
    """Some of a run that was trained for a moment."""
    words = [f"data.manifest={corpus / 'untranscribed.jsonl'}", f"out={root / 'pretrain'}"]
    words += ["train.minutes=null", "train.steps=3", "train.processes=1"]
    run = pretrain(convert(load(shipped("demo_pretrain"), words), PretrainConfig), quiet=True)
    return entries(wanted, [0], SECONDS, corpus, root, upstream=str(run.parent))


if __name__ == "__main__":
    main()
