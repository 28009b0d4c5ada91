"""Slots of an order, such as `artist: the beatles`: were the right kinds found, and are their values right?

The two figures of SUPERB's slot filling. A clip's F1 is of the kinds of slots that it has and that were
found, each once; two empty sets are the same. The values' character error rate is over the reference's
slots: a slot that was not found has an empty value, of several of its kind the nearest one counts. A. Lai et
al., "Semi-Supervised Spoken Language Understanding via Self-Supervised Speech and Language Model
Pretraining", ICASSP 2021, https://arxiv.org/abs/2010.13826.
"""

from collections.abc import Sequence

from sonorant.evaluate.wer import character_errors

Slots = Sequence[tuple[str, str]]  # kind and value, in their order


def type_f1(reference: Slots, hypothesis: Slots) -> float:
    """Of one clip."""
    real, found = {kind for kind, _ in reference}, {kind for kind, _ in hypothesis}
    if not real and not found:
        return 1.0
    return 2 * len(real & found) / (len(real) + len(found))


def value_errors(reference: Slots, hypothesis: Slots) -> tuple[int, int]:
    """Errors and characters of one clip's values."""
    errors = total = 0
    for kind, value in reference:
        candidates = [said for other, said in hypothesis if other == kind] or [""]
        wrong, size = character_errors([(value, said) for said in candidates])
        errors += int(wrong.min())
        total += int(size[0])
    return errors, total
