"""Whether methods behave as their papers promise: one setting against another, all else being equal.

    python benchmarks/behaviour.py                                  # everything; 3.5 hours of two idle cores
    python benchmarks/behaviour.py --only hubert apc --seeds 0 1 2  # or piece by piece
    python benchmarks/behaviour.py --quick                          # two of them for seconds; nothing is kept

Each variant of an experiment (contest/experiments.py tells which there are, what is expected, and who says
so) is pretrained on the Amazon Queen's untranscribed recordings, with as many updates as fit into --minutes
processor minutes of each of --processes with the experiment's first variant, and measured. Stages are kept in
folders of --out: what has ended is not repeated, what was interrupted goes on. Rows are added to
results/behaviour-DATE.jsonl after each stage, in place of those of the same variant, seed and metric, and
the page, with a verdict on each expectation, and the picture are made anew of all rows. --file names the
table of another day, to go on with it.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from contest.command import hold, hold_quickly, parser
from contest.entries import Budget, Entry
from contest.experiments import EXPERIMENTS
from contest.keeping import check
from contest.verdict_page import show
from sonorant.config import ConfigError

QUICK = ("apc", "hubert")
SECONDS = Budget(pretraining=0.02, finetuning=0, processes=1)


def main() -> None:
    command = parser(__doc__, name="behaviour")
    command.add_argument("--only", nargs="+", help="experiments; all unless given", metavar="NAME")
    options = command.parse_args()
    names = [each.name for each in EXPERIMENTS]
    if options.quick:
        sys.exit(hold_quickly(partial(entries, options.only or QUICK, [0], SECONDS), show))
    budget = Budget(options.minutes, finetuning=0, processes=options.processes)
    root = options.out / f"{options.minutes:g}min-x{options.processes}"
    try:
        check(options.file, budget)
        chosen = entries(options.only or names, options.seeds, budget, options.corpus, root)
    except ValueError as error:
        command.error(str(error))
    sys.exit(hold(options, chosen, show))


def entries(
    wanted: Sequence[str], seeds: Sequence[int], budget: Budget, corpus: Path, root: Path
) -> list[Entry]:
    """Each variant with each seed, experiment by experiment. ConfigError: a name is not known, or a budget is
    nothing."""
    if min(budget.pretraining, budget.processes) <= 0:
        raise ConfigError("--minutes and --processes are above 0")
    known = {each.name: each for each in EXPERIMENTS}
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigError(f"--only: {unknown[0]!r} is not one of {', '.join(known)}")
    corpus, root = corpus.resolve(), root.resolve()
    return [
        Entry(contestant, seed, corpus, root, budget, benchmark="behaviour")
        for name in wanted
        for seed in seeds
        for contestant in known[name].contestants()
    ]


if __name__ == "__main__":
    main()
