"""`sonorant bench` on real recordings: every task, both heads, rates swept, seeds, and one page of it all.

    python benchmarks/superb.py log-mel untrained=untrained:runs/best_rq trained=runs/best_rq \
        --commands arabic-speech-commands --sentences speechocean762 --orders speech-to-intent
    python benchmarks/superb.py log-mel --tasks pr qbe       # piece by piece, on the Amazon Queen alone

The Amazon Queen (--corpus) gives phones, ten minutes of transcripts and spoken terms. The folders are those
of anybody who has them, with a table `manifest.tsv` (file, split, speaker, seconds, label, extra): commands
for keywords and speakers, read sentences for the rest, orders for intents and slots; what is made of each is
told in contest/real_tasks.py. The same command goes on where it was interrupted, and adds upstreams. Rows go
to results/superb-DATE.jsonl, or to --file, and the page beside it is made anew of all of them.
"""

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import msgspec

from comparisons import rewrite
from contest.real_tasks import MAKERS, queen
from sonorant.evaluate.rows import Row, read_rows
from sonorant.evaluate.superb import superb_scores
from sonorant.recipes.benching.bench import BenchConfig, bench
from sonorant.recipes.benching.learning import HeadConfig
from sonorant.recipes.benching.upstream import BASELINE

RESULTS = Path(__file__).parent / "results"
QUEEN, OTHERS = "Queen", "others"
ABOUT = """\
Frozen upstreams; small heads on the weighted sum of their layers; the learning rate is swept by the
validation part for every upstream, task and head with the first seed, and taken by the others; at most
{updates} updates of {batch} clips, of {few} where sequences are written, and {checks} looks at the validation
part; hidden layers {width:g} times as wide as published (docs/bench.md). A cell is the mean over seeds, in
brackets the lowest and the highest of three (none: one seed), then the mean of their 95 % intervals over test
speakers, clips or queries. The first head of a task is the published one. Figures do not compare with
SUPERB's: other data, fewer updates, narrower heads.

Data. Queen: phones of an hour of acted dialogue by pocketsphinx, ten minutes of transcripts, 100 spoken terms
at most to search for in the test part. Commands: three of each speaker's ten rounds of 40 Arabic words, 18, 6
and 6 speakers; for SID the same clips, all 30 speakers. Sentences: English read by 125 Mandarin speakers, of
which a fifth is for the test. SD: mixtures of those. ER: **no emotion**: the same sentences, slower and
quieter, as they are, or faster and louder; it shows that the task runs. Orders: 619 orders to a coffee
machine, of which no speaker is known, so that voices may stand in two parts; IC names the slots of at most
four values (roast, number of shots; both have to be right), SF writes all values in alphabetical order of the
slots, not as spoken, because there are no transcripts.
"""
BATCH, FEW = 32, 8  # clips an update; fewer teach CTC more in the same time
CHECKS = 10  # on the validation part, which may be longer than what is trained on between them
SEQUENCES = ("pr", "asr", "sf")
EXPECTED = [f"{QUEEN} {name}" for name in ("PR", "ASR", "QbE")]
EXPECTED += ["KS", "SID", "PR", "ASR", "ASV", "SD", "ER", "IC", "SF"]
LOWER = ("per", "wer", "cer", "eer", "der")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("upstreams", nargs="+", help="as `sonorant bench` takes them")
    parser.add_argument("--corpus", type=Path, default=Path("demo/corpus"), help="the Amazon Queen")
    for name in MAKERS:
        parser.add_argument(f"--{name}", type=Path, help="a folder with manifest.tsv", metavar="FOLDER")
    parser.add_argument("--tasks", nargs="+", help="of all; else all that there is data for", metavar="TASK")
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/superb"), help="where everything is kept")
    file = RESULTS / f"superb-{datetime.now(UTC):%Y-%m-%d}.jsonl"
    parser.add_argument("--file", type=Path, default=file, help="of rows, to which these are added")
    options = parser.parse_args()
    for name, data in suites(options).items():
        tasks = [task for task in data if options.tasks is None or task in options.tasks]
        for task in tasks:  # one by one, so that all upstreams are compared in something early
            batch = FEW if task in SEQUENCES else BATCH
            head = HeadConfig(updates=options.updates, width=options.width, batch=batch, checks=CHECKS)
            fits = bench(
                BenchConfig(
                    out=str(options.out / name), upstreams=tuple(options.upstreams),
                    data=(f"{task}={data[task]}",), tasks=(task,), seeds=options.seeds, head=head,
                ),
                say=lambda line: print(line, flush=True),
            )  # fmt: skip
            keep(options, [named(row, name) for fit in fits for row in fit.rows])


def suites(options: argparse.Namespace) -> dict[str, dict[str, str]]:
    """The tasks of each benchmark, and their manifests as `bench` takes them."""
    folder = options.out / "data"
    wanted = [(QUEEN, queen, options.corpus)]
    wanted += [(OTHERS, maker, getattr(options, name)) for name, maker in MAKERS.items()]
    found: dict[str, dict[str, str]] = {}
    for name, maker, source in wanted:
        if source is not None:
            for task, files in maker(source.resolve(), folder):
                several = files if isinstance(files, Sequence) else [files]
                found.setdefault(name, {})[task] = ",".join(str(file) for file in several)
    return found


def named(row: Row, suite: str) -> Row:
    """With the Queen's name before a task of hers: others have the same ones."""
    return msgspec.structs.replace(row, task=f"{QUEEN} {row.task}" if suite == QUEEN else row.task)


def keep(options: argparse.Namespace, new: Sequence[Row]) -> None:
    """Adds rows in place of those of the same upstream, task, metric and seed, and makes the page anew."""

    def key(row: Row) -> tuple[object, ...]:
        return row.subject, row.task, row.metric, row.seed

    replaced = {key(row) for row in new}
    old = read_rows(options.file) if options.file.exists() else []
    rows = [*(row for row in old if key(row) not in replaced), *new]
    rewrite(options.file, rows)
    about = ABOUT.format(updates=options.updates, width=options.width, batch=BATCH, few=FEW, checks=CHECKS)
    options.file.with_suffix(".md").write_text(page(rows, options.file.stem, about), encoding="utf8")


def page(rows: Sequence[Row], title: str, about: str) -> str:
    """Tasks down, upstreams across."""
    subjects = list(dict.fromkeys(row.subject for row in rows))
    tasks = list(dict.fromkeys((row.task, row.metric) for row in rows))
    commits = ", ".join(sorted({row.commit for row in rows}))
    lines = [f"# Tasks on real recordings, {title.removeprefix('superb-')}", ""]
    lines += [f"`python benchmarks/superb.py`; commit {commits}; {rows[0].machine}.", "", about]
    lines += [score_line(rows, tasks), ""]
    lines += ["| | " + " | ".join(subjects) + " |", "|---|" + "---:|" * len(subjects)]
    for task, metric in tasks:
        found = {
            subject: [row for row in rows if (row.subject, row.task, row.metric) == (subject, task, metric)]
            for subject in subjects
        }
        cells = [cell(found[subject]) for subject in subjects]
        lines.append(
            f"| {task}: {metric.upper() if metric in LOWER else metric} | " + " | ".join(cells) + " |"
        )
    measured = {task.partition(",")[0] for task, _ in tasks}
    absent = [task for task in EXPECTED if task not in measured]
    lines += ["", f"Not measured yet: {', '.join(absent)}."] if absent else []
    return "\n".join(lines) + "\n"


def cell(rows: Sequence[Row]) -> str:
    """The mean over seeds, their range, and the mean interval."""
    if not rows:
        return ""
    values = [row.value for row in rows]
    told = f"{fmean(values):.3f}"
    if len(values) > 1:
        told += f" [{min(values):.3f}, {max(values):.3f}]"
    if all(row.low is not None for row in rows):
        low, high = (fmean(getattr(row, name) for row in rows) for name in ("low", "high"))
        told += f"; {low:.3f} to {high:.3f}"
    return told


def score_line(rows: Sequence[Row], tasks: Sequence[tuple[str, str]]) -> str:
    """SUPERB's score by each task's first metric and published head."""
    chosen: dict[str, tuple[str, str]] = {}
    for task, metric in tasks:
        chosen.setdefault(task.partition(",")[0], (task, metric))
    values: dict[str, Mapping[str, float]] = {}
    for name, (task, metric) in chosen.items():
        here = [row for row in rows if (row.task, row.metric) == (task, metric)]
        values[name] = {
            subject: fmean(row.value for row in here if row.subject == subject)
            for subject in dict.fromkeys(row.subject for row in here)
        }
    higher = {name: metric not in LOWER for name, (_, metric) in chosen.items()}
    found = superb_scores(values, higher, baseline=BASELINE)
    told = ", ".join(f"{name} {score:.0f}" for name, score in found.scores.items())
    return f"Score (0 {BASELINE}, 1000 the best of each task, their mean, published heads): {told or 'none'}."


if __name__ == "__main__":
    main()
