"""Word and character error rates of a whole corpus, with their intervals over utterances.

Texts are compared as they come: case, punctuation and spelling of numbers are the caller's to settle, in the
same way for references and hypotheses. Only white space does not matter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jiwer
import torch
from torch import Tensor

from sonorant.evaluate.sampling import interval, resamples


class TranscriptError(ValueError):
    """Transcripts that no error rate can be computed of."""


@dataclass(frozen=True)
class ErrorRate:
    """Errors for each word or character of the references, and the counts behind it.

    `low` and `high` bound the 95 % interval over utterances; both are the rate itself for a single utterance.
    """

    rate: float
    low: float
    high: float
    substitutions: int
    deletions: int
    insertions: int
    total: int  # words or characters of the references
    utterances: int


def word_error_rate(pairs: Sequence[tuple[str, str]], *, seed: int = 0) -> ErrorRate:
    """Of (reference, hypothesis) pairs, either of which may be empty.

    TranscriptError: no reference has a word.
    """
    return _error_rate(pairs, jiwer.process_words, seed)


def character_error_rate(pairs: Sequence[tuple[str, str]], *, seed: int = 0) -> ErrorRate:
    """As `word_error_rate`, of characters; the space between two words is one."""
    return _error_rate(pairs, jiwer.process_characters, seed)


def word_errors(pairs: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
    """The errors of each (reference, hypothesis) pair, and the words of its reference."""
    counts, totals = _counted(pairs, jiwer.process_words)
    return torch.tensor([sum(each) for each in counts]), torch.tensor(totals)


def character_errors(pairs: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
    """As `word_errors`, of characters."""
    counts, totals = _counted(pairs, jiwer.process_characters)
    return torch.tensor([sum(each) for each in counts]), torch.tensor(totals)


Align = Callable[[list[str], list[str]], jiwer.WordOutput | jiwer.CharacterOutput]


def _counted(pairs: Sequence[tuple[str, str]], align: Align) -> tuple[list[tuple[int, int, int]], list[int]]:
    """Substitutions, deletions and insertions of each pair, and the size of its reference."""
    if not pairs:
        raise TranscriptError("no transcripts: an error rate needs a reference (check the manifest)")
    # jiwer parts words at spaces alone: a tab or line break would join two into one
    references, hypotheses = ([" ".join(text.split()) for text in side] for side in zip(*pairs, strict=True))
    aligned = align(references, hypotheses)
    return [_count(chunks) for chunks in aligned.alignments], [len(each) for each in aligned.references]


def _error_rate(pairs: Sequence[tuple[str, str]], align: Align, seed: int) -> ErrorRate:
    counts, totals = _counted(pairs, align)
    if not any(totals):
        raise TranscriptError(f"all {len(pairs)} references are empty: an error rate needs their words")
    errors = torch.tensor(counts, dtype=torch.float64).sum(1)
    substitutions, deletions, insertions = (sum(kind) for kind in zip(*counts, strict=True))
    rate = (substitutions + deletions + insertions) / sum(totals)
    low, high = (
        _interval(errors, torch.tensor(totals, dtype=torch.float64), seed) if len(pairs) > 1 else (rate, rate)
    )
    return ErrorRate(rate, low, high, substitutions, deletions, insertions, sum(totals), len(pairs))


def _count(chunks: Sequence[jiwer.AlignmentChunk]) -> tuple[int, int, int]:
    """Substitutions, deletions and insertions of one utterance."""
    counts = {"equal": 0, "substitute": 0, "delete": 0, "insert": 0}
    for chunk in chunks:
        reference = chunk.ref_end_idx - chunk.ref_start_idx
        counts[chunk.type] += reference or chunk.hyp_end_idx - chunk.hyp_start_idx
    return counts["substitute"], counts["delete"], counts["insert"]


def _interval(errors: torch.Tensor, totals: torch.Tensor, seed: int) -> tuple[float, float]:
    draws = resamples(len(errors), seed=seed)
    sizes = draws @ totals
    return interval((draws @ errors)[sizes > 0] / sizes[sizes > 0])
