"""What recognisers made of a few utterances, beside what was said."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jiwer
import msgspec

from sonorant.evaluate.wer import character_error_rate, word_error_rate
from sonorant.recipes.sections.page import ReportError, Section, folders, name, text

SHOWN = 10


class Hypothesis(msgspec.Struct, frozen=True):
    """A line of `hypotheses.jsonl`, as far as it is read here."""

    id: str
    hypothesis: str
    reference: str | None = None


def transcripts(run: Path) -> list[Section]:
    """The same utterances by every recogniser, chosen evenly through the first one's file."""
    found = {name(each, run): read for each in folders(run) if (read := _read(each / "hypotheses.jsonl"))}
    if not found:
        return []
    first = list(next(iter(found.values())).values())
    body = "".join(
        _utterance(spoken.id, spoken.reference or "", {each: read[spoken.id].hypothesis
                   for each, read in found.items() if spoken.id in read})
        for spoken in chosen(first)
    )  # fmt: skip
    note = '<p class="note"><mark>wrong or added</mark> <del>missing</del></p>'
    return [Section("Transcripts", note + body)]


def chosen(spoken: Sequence[Hypothesis], count: int = SHOWN) -> list[Hypothesis]:
    """At most so many, always the same ones: the middles of as many equal stretches."""
    count = min(count, len(spoken))
    return [spoken[(2 * place + 1) * len(spoken) // (2 * count)] for place in range(count)]


def _read(file: Path) -> dict[str, Hypothesis]:
    """The hypotheses that have a reference, by id."""
    if not file.exists():
        return {}
    read: dict[str, Hypothesis] = {}
    for place, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            row = msgspec.json.decode(line, type=Hypothesis)
        except msgspec.DecodeError as error:
            raise ReportError(f"{file}:{place}: {error} (remove the line, or transcribe again)") from error
        if row.reference and row.reference.split():
            read[row.id] = row
    return read


def _utterance(identifier: str, reference: str, hypotheses: Mapping[str, str]) -> str:
    columns = "".join(
        f'<div><dt>{text(each)} <span>{_rates(reference, hypothesis)}</span></dt><dd dir="auto">'
        f"{marked(reference, hypothesis)}</dd></div>"
        for each, hypothesis in hypotheses.items()
    )
    return (
        f'<article><h3>{text(identifier)}</h3><dl class="said">'
        f'<div><dt>reference</dt><dd dir="auto">{text(reference)}</dd></div>{columns}</dl></article>'
    )


def _rates(reference: str, hypothesis: str) -> str:
    pairs = [(reference, hypothesis)]
    return f"CER {character_error_rate(pairs).rate:.0%}, WER {word_error_rate(pairs).rate:.0%}"


def marked(reference: str, hypothesis: str) -> str:
    """The hypothesis, with its errors marked as the word error rate counts them."""
    aligned = jiwer.process_words(" ".join(reference.split()), " ".join(hypothesis.split()))
    spoken, heard = aligned.references[0], aligned.hypotheses[0]
    parts = []
    for chunk in aligned.alignments[0]:
        said = text(" ".join(spoken[chunk.ref_start_idx : chunk.ref_end_idx]))
        got = text(" ".join(heard[chunk.hyp_start_idx : chunk.hyp_end_idx]))
        shown = {"equal": got, "delete": f"<del>{said}</del>"}
        parts.append(shown.get(chunk.type, f"<mark>{got}</mark>"))
    return " ".join(parts)
