"""Guards error rates: corpus-level counts, white space, empty texts, intervals over utterances."""

import pytest

from sonorant.evaluate.wer import TranscriptError, character_error_rate, word_error_rate


def test_errors_are_summed_before_the_division():
    result = word_error_rate([("a b c d e f g h i", "a b c d e f g h i"), ("x", "y z")])
    assert result.rate == 2 / 10
    assert (result.substitutions, result.deletions, result.insertions) == (1, 0, 1)
    assert (result.total, result.utterances) == (10, 2)


def test_empty_hypotheses_are_deletions_and_empty_references_take_insertions():
    result = word_error_rate([("a b c", ""), ("", "x y"), ("", ""), ("d", "d")])
    assert (result.substitutions, result.deletions, result.insertions, result.total) == (0, 3, 2, 4)


def test_white_space_does_not_matter():
    assert word_error_rate([(" a\tb\n c ", "a b c")]).rate == 0
    assert character_error_rate([(" a\tb ", "a b")]).rate == 0
    assert character_error_rate([("a b", "ab")]).rate == 1 / 3


def test_the_interval_is_over_utterances():
    pairs = [("a b c d", "a b c d" if number % 4 else "a b x y") for number in range(400)]
    result = word_error_rate(pairs)
    assert result.rate == pytest.approx(0.125)
    deviation = (0.5 * (0.25 * 0.75) ** 0.5) / 20  # of the mean of 400 utterances with rates 0 and 0.5
    assert result.low == pytest.approx(0.125 - 1.96 * deviation, abs=0.004)
    assert result.high == pytest.approx(0.125 + 1.96 * deviation, abs=0.004)
    assert word_error_rate(pairs) == result
    one = word_error_rate([("a b", "a c")])
    assert one.low == one.rate == one.high


def test_nothing_to_compare_is_an_error():
    with pytest.raises(TranscriptError, match="no transcripts"):
        word_error_rate([])
    with pytest.raises(TranscriptError, match="all 2 references are empty"):
        character_error_rate([("", "x"), (" ", "")])
