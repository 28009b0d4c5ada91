"""The page of cjt.py: one table of all variants, whether what was expected came about, and why."""

from collections.abc import Sequence
from pathlib import Path

from contest.figures import BUDGET, seeds, shown, values
from contest.joint import AUROC, CER, EXPERIMENT, LM, REFERENCE, SUBJECTS, WER
from contest.joint_picture import picture, section
from contest.keeping import origin, spent
from contest.verdicts import verdict
from contest.whisper import WHISPER
from sonorant.evaluate.rows import Row

COLUMNS = (*(f"{each} {part}" for part in ("test", f"test {LM}", "dev") for each in (WER, CER)), AUROC)
ABOUT = f"""\
What RUN is, and the corpus, the voice and the language where they are not the script's defaults, stands in
docs/cjt.md. Every training has the same number of updates. The seed starts from the pretrained encoder; all
others go on from the seed with as many again, `CJT++` and `CJT twice` from `CJT` with as many a third time;
`CJT, afresh` starts from the pretrained encoder instead. Figures are means over seeds, in brackets the lowest
and the highest. The language model is an n-gram model of the paired part's transcripts and of the unpaired
text, with a beam of 32 and the default weights; without it decoding is greedy. The AUROC is that of the
labels which a network writes for the unpaired speech, the probability that a right character is surer than a
wrong one: the seed's before joint training, CJT's after it, and between them the control, whose network
learned from pseudo-labels alone. `{REFERENCE}` learned from the unpaired speech with its real texts: no
variant but an upper bound, and what layers are compared with. {WHISPER} stands there for scale: it learned
from 680,000 hours of other speech, and hears stretches of several clips at once.
"""


def show(rows: Sequence[Row], file: Path) -> None:
    """The page and the picture of rows, beside their file."""
    picture(rows, file.with_suffix(".png"))
    file.with_suffix(".md").write_text(page(rows, file.stem), encoding="utf8")


def page(rows: Sequence[Row], stem: str) -> str:
    budget = spent(rows)
    parts = sorted({row.task for row in rows if row.subject != BUDGET})
    command = (
        f"python benchmarks/cjt.py RUN --part {' '.join(parts)} --minutes {budget['fine-tuning minutes']:g} "
        f"--processes {budget['processes']:g} --seeds {' '.join(map(str, seeds(rows)))}"
    )
    lines = [
        f"# Complementary joint training, {stem.removeprefix('cjt-')}\n",
        f"`{command}`; {origin(rows)}.\n",
        ABOUT,
        "| | " + " | ".join(COLUMNS) + " | seeds |",
        "|---|" + "---:|" * (len(COLUMNS) + 1),
        *(_line(rows, variant) for variant in SUBJECTS),
        f"\n{EXPERIMENT.expected} ({EXPERIMENT.paper})\n",
        "| figure | more errors | fewer errors | difference, points | seeds | |",
        "|---|---|---|---:|---:|---|",
        *(_verdict(rows, place) for place in range(len(EXPERIMENT.claims))),
        *section(rows, stem),
    ]
    return "\n".join(lines) + "\n"


def _line(rows: Sequence[Row], variant: str) -> str:
    subject = EXPERIMENT.subject(variant)
    cells = [
        shown(values(rows, subject, metric), "{:.3f}" if metric == AUROC else "{:.1%}") for metric in COLUMNS
    ]
    return "| " + " | ".join([variant, *cells, str(len(values(rows, subject, COLUMNS[0])))]) + " |"


def _verdict(rows: Sequence[Row], place: int) -> str:
    claim = EXPERIMENT.claims[place]
    found = verdict(rows, EXPERIMENT, claim)
    if found is None:
        cells = (claim.metric, claim.more[0], claim.less[0], "", "0", "not measured")
    else:
        ends = [f"{100 * each:+.1f}" for each in (found.difference, found.low, found.high)]
        interval = f"{ends[0]} [{ends[1]}, {ends[2]}]"
        cells = (claim.metric, found.more, found.less, interval, str(found.seeds), f"**{found.word}**")
    return "| " + " | ".join(cells) + " |"
