"""Every self-supervised objective on the same speech at equal cost: one table, with a picture.

    python benchmarks/objectives.py                              # everything; 3.5 hours of two idle cores
    python benchmarks/objectives.py --methods apc "hubert, 2nd" --seeds 0 1 2        # or piece by piece
    python benchmarks/objectives.py --quick                      # two methods for seconds; nothing is written
    python benchmarks/objectives.py --upstream "Whisper tiny.en=whisper-tiny.en"     # a published model
    python benchmarks/objectives.py --speech festvox_ru --corpus corpora/festvox_ru --out runs/festvox_ru \
        --pretrained runs/objectives --file benchmarks/results/objectives-festvox_ru.jsonl

Each contestant is pretrained on the Amazon Queen's untranscribed recordings for --minutes with --processes,
measured, and fine-tuned on ten minutes of transcripts for --finetune-minutes. Minutes are processor minutes
of each process: on a busy machine they last longer and mean as many updates. Stages are kept in folders of
--out: what has ended is not repeated, what was interrupted goes on. Rows are added to
results/objectives-DATE.jsonl after each stage, in place of those of the same contestant, seed and metric, and
the page and the picture beside it are made anew of all rows. --file names the table of another day, to go on
with it. Published models (docs/upstreams.md) are measured and not fine-tuned. With --pretrained, networks are
taken from the folder of an earlier table, and measured and fine-tuned on another corpus: one Russian speaker.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from contest.command import hold, hold_quickly, parser
from contest.entries import Budget, Entry
from contest.keeping import check
from contest.methods import Contestant, contestants, known, published
from contest.page import show
from sonorant.config import ConfigError

STAGES = ("pretrain", "measure", "finetune")
QUICK = ("apc", "best_rq")
SECONDS = Budget(pretraining=0.05, finetuning=0.05, processes=1)


def main() -> None:
    command = parser(__doc__, name="objectives")
    command.add_argument("--methods", nargs="+", help="contestants; all unless given", metavar="NAME")
    command.add_argument(
        "--upstream", nargs="+", default=[], metavar="NAME=FOLDER",
        help="published models, alone unless --methods names others",
    )  # fmt: skip
    command.add_argument("--finetune-minutes", type=float, default=2.0)
    command.add_argument(
        "--stages", nargs="+", choices=STAGES, default=STAGES, help="all, or a piece of them"
    )
    command.add_argument("--pretrained", type=Path, help="the --out of the table whose networks are taken")
    options = command.parse_args()
    shown = partial(show, known())
    try:
        others = published(options.upstream)
    except ConfigError as error:
        command.error(str(error))
    wanted = options.methods or ([] if others else QUICK if options.quick else known())
    if options.quick:
        sys.exit(hold_quickly(partial(entries, wanted, [0], SECONDS, others=others), shown))
    budget = Budget(options.minutes, options.finetune_minutes, options.processes)
    name = f"{options.minutes:g}min-{options.finetune_minutes:g}min-x{options.processes}"
    pretrained = None if options.pretrained is None else (options.pretrained / name).resolve()
    try:
        check(options.file, budget)
        chosen = entries(
            wanted, options.seeds, budget, options.corpus, options.out / name, others=others,
            pretrained=pretrained, stages=options.stages,
        )  # fmt: skip
    except ValueError as error:
        command.error(str(error))
    sys.exit(hold(options, chosen, shown))


def entries(
    wanted: Sequence[str],
    seeds: Sequence[int],
    budget: Budget,
    corpus: Path,
    root: Path,
    *,
    others: Sequence[Contestant] = (),
    pretrained: Path | None = None,
    stages: Sequence[str] = STAGES,
) -> list[Entry]:
    """Each contestant with each seed, all contestants of a seed before the next. ConfigError: a name is not
    known, or a budget is nothing."""
    if min(budget.pretraining, budget.finetuning, budget.processes) <= 0:
        raise ConfigError("--minutes, --finetune-minutes and --processes are above 0")
    found = [
        replace(each, stages=tuple(stage for stage in each.stages if stage in stages))
        for each in (*contestants(wanted), *others)
    ]
    corpus, root = corpus.resolve(), root.resolve()
    return [
        Entry(each, seed, corpus, root, budget, pretrained=pretrained) for seed in seeds for each in found
    ]


if __name__ == "__main__":
    main()
