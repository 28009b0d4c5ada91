"""The page of recognisers.py: a table for each kind of recogniser and each amount of labels."""

from collections.abc import Sequence
from pathlib import Path

from contest.figures import seeds, shown, values
from contest.keeping import origin, spent
from contest.recognisers import ARMS, KINDS, LABELS, Recogniser
from sonorant.evaluate.rows import Row

COLUMNS = {
    "WER test": "{:.1%}",
    "CER test": "{:.1%}",
    "WER test with LM": "{:.1%}",
    "CER test with LM": "{:.1%}",
    "WER dev": "{:.1%}",
    "CER dev": "{:.1%}",
    "fine-tuning updates": "{:.0f}",
    "seconds": "{:.0f}",
    "processor seconds": "{:.0f}",
}
ABOUT = """\
Recognisers are made of one pretrained encoder, or one for each seed, with the schedule for so many labels
(`recipes/label_budget.py`) over as many updates as fit into the budget's processor minutes of each process
where all is trained, the same for all of a table; seconds are those that were really spent. Those from
scratch have the encoder's shape and new weights, and like the frozen ones the shipped configurations' rate.
Frozen encoders are read by two bidirectional LSTMs (CTC), which may cost more than the encoder, or by the
decoder (seq2seq). A learned weighted sum of all layers is read, or the last layer. The checkpoint with the
lowest loss on the dev part is kept. The language model has words of the unpaired text and the transcripts
that were trained on; its weights are chosen on a sample of the dev part. Without it CTC is decoded greedily
and seq2seq with a beam of 4. Means over seeds, in brackets the lowest and the highest of them. What was
pretrained, and how, is told in docs/recognisers.md.
"""


def show(rows: Sequence[Row], file: Path) -> None:
    """The page of rows, beside their file."""
    file.with_suffix(".md").write_text(page(rows, file.stem), encoding="utf8")


def page(rows: Sequence[Row], stem: str) -> str:
    budget = spent(rows)
    command = (
        f"python benchmarks/recognisers.py --minutes {budget['fine-tuning minutes']:g} "
        f"--processes {budget['processes']:g} --seeds {' '.join(map(str, seeds(rows)))}"
    )
    lines = [
        f"# Recognisers from few labels, {stem.removeprefix('recognisers-')}\n",
        f"`{command}`; {origin(rows)}.\n",
        ABOUT,
    ]
    for kind in KINDS:
        for labels in LABELS:
            lines += _section(rows, kind, labels)
    lines += ["## Settings\n", *(f"- {arm}: {_told(words)}" for arm, words in ARMS.items())]
    return "\n".join(lines) + "\n"


def _section(rows: Sequence[Row], kind: str, labels: str) -> list[str]:
    names = {arm: Recogniser(kind, labels, arm, "").name for arm in ARMS}
    if not any(row.subject in names.values() for row in rows):
        return []
    body = [
        "| "
        + " | ".join([arm, *(shown(values(rows, name, each), form) for each, form in COLUMNS.items())])
        + " |"
        for arm, name in names.items()
    ]
    return [
        f"## {kind}, {labels}\n",
        "| | " + " | ".join(COLUMNS) + " |",
        "|---|" + "---:|" * len(COLUMNS),
        *body,
        "",
    ]


def _told(words: Sequence[str]) -> str:
    return " ".join(f"`{word}`" for word in words) or "as the schedule has it"
