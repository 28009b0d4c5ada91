"""Guards error rates: jiwer's counts against a loop-only edit distance, on texts that hypothesis makes up."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sonorant.evaluate.wer import character_error_rate, word_error_rate

words = st.lists(st.sampled_from(["a", "b", "ab", "ä", "c"]), max_size=7).map(" ".join)
pairs = st.lists(st.tuples(words, words), min_size=1, max_size=4).filter(
    lambda pairs: any(r for r, _ in pairs)
)


def distance(reference, hypothesis):
    """Levenshtein's distance, cell by cell."""
    row = list(range(len(hypothesis) + 1))
    for place, wanted in enumerate(reference, start=1):
        before, row[0] = row[0], place
        for column, got in enumerate(hypothesis, start=1):
            cell = min(row[column] + 1, row[column - 1] + 1, before + (wanted != got))
            before, row[column] = row[column], cell
    return row[-1]


def check(result, sides):
    errors = sum(distance(reference, hypothesis) for reference, hypothesis in sides)
    total = sum(len(reference) for reference, _ in sides)
    assert result.substitutions + result.deletions + result.insertions == errors
    assert result.insertions - result.deletions == sum(len(h) - len(r) for r, h in sides)
    assert result.total == total
    assert result.rate == errors / total


@settings(max_examples=60, deadline=None, derandomize=True)
@given(pairs)
def test_word_errors(pairs):
    check(
        word_error_rate(pairs), [(reference.split(), hypothesis.split()) for reference, hypothesis in pairs]
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(pairs)
def test_character_errors(pairs):
    check(character_error_rate(pairs), pairs)
