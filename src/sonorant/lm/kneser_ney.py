"""N-gram models by interpolated modified Kneser-Ney smoothing.

Stanley F. Chen and Joshua Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling",
Harvard TR-10-98, 1998 (https://dash.harvard.edu/handle/1/25104739), section 3. With c the counts of the
highest order, and below it the number of different words that an n-gram follows,

    p(w | h) = (c(hw) - D(c(hw))) / c(h.) + g(h) p(w | h')
    g(h) = (D1 N1(h.) + D2 N2(h.) + D3 N3+(h.)) / c(h.)

where N1, N2 and N3+ are how many words follow h once, twice and more often, and h' is h without its first
word. Below the single word stands the uniform distribution over all words, the end of a sentence and the
unknown word, so that nothing has probability zero.

What the paper leaves open: an n-gram that starts a sentence follows no word and keeps its count; sentences
start with one `<s>`, however high the order. Both are as in KenLM (Heafield et al., "Scalable Modified
Kneser-Ney Language Model Estimation", ACL 2013).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from sonorant.lm.arpa import BEGIN, END, UNKNOWN, Grams, TextError

FIXED = (0.5, 1.0, 1.5)  # discounts where a text is too small to tell them


@dataclass(frozen=True)
class _Order:
    """The different n-grams of one order, by their number."""

    last: Int[ndarray, " grams"]  # where in the text each one's first occurrence ends
    counts: Int[ndarray, " grams"]  # as they occur
    history: Int[ndarray, " grams"]  # its number, one order lower
    shorter: Int[ndarray, " grams"]  # the number without the first word, one order lower


def estimate(sentences: Iterable[Sequence[str]], order: int) -> Grams:
    """The model of sentences of words; empty ones do not count.

    Orders above the longest sentence, with its start and its end, are left out. TextError: there is no word,
    or `<s>` or `</s>` is among them.
    """
    words, text, places = _numbered(sentences)
    if not len(text):
        raise TextError("no words: a language model needs a text")
    if (np.bincount(text, minlength=3)[[0, 2]] != (places == 0).sum()).any():
        raise TextError(f"{BEGIN} or {END} is among the words: they stand for a sentence's start and end")
    orders = _count(text, places, min(order, int(places.max()) + 1), len(words))
    probabilities: list[ndarray] = []
    backoffs: list[ndarray] = []
    for number, found in enumerate(orders):
        above = orders[number + 1] if number + 1 < len(orders) else None
        counts = _adjusted(found, above, starts=places[found.last] == number)
        if number == 0:  # <s> is never predicted; the unknown word has no count
            counts[0] = 0
        removed = _discounted(counts)
        one = len(backoffs[-1]) if number else 1
        totals = np.bincount(found.history, counts, minlength=one)
        freed = np.bincount(found.history, removed, minlength=one)
        seen = np.maximum(totals, 1e-300)
        weight = np.where(totals > 0, freed / seen, 1.0)
        lower = probabilities[-1][found.shorter] if number else 1 / (len(words) - 1)  # all but <s>
        probabilities.append((counts - removed) / seen[found.history] + weight[found.history] * lower)
        if number:
            backoffs[-1] = weight
        backoffs.append(np.ones(len(counts)))
    probabilities[0][0] = 0.0
    rows = [text[found.last[:, None] + np.arange(-number, 1)] for number, found in enumerate(orders)]
    rows[0] = np.arange(len(words))[:, None]
    return Grams(tuple(words), tuple(rows), tuple(probabilities), tuple(backoffs))


def discounts(counts: Int[ndarray, " grams"]) -> tuple[float, float, float]:
    """What is taken from counts of 1, 2 and 3 or more, from how many n-grams occur 1 to 4 times.

    Where n3 or n4 is 0, or a discount lies outside of its count, all three are n1 / (n1 + 2 n2), as in
    Kneser-Ney smoothing with one discount; where n1 or n2 is 0, they are 0.5, 1 and 1.5.
    """
    one, two, three, four = (int(n) for n in np.bincount(counts[counts < 5], minlength=5)[1:5])
    if not one or not two:
        return FIXED
    single = one / (one + 2 * two)
    if three and four:
        each = (
            1 - 2 * single * two / one,
            2 - 3 * single * three / two,
            3 - 4 * single * four / three,
        )
        if all(0 < value <= count for count, value in enumerate(each, start=1)):
            return each
    return single, single, single


def _discounted(counts: Int[ndarray, " grams"]) -> Float[ndarray, " grams"]:
    removed: ndarray = np.array([0.0, *discounts(counts)])[np.minimum(counts, 3)]
    return removed


def _numbered(
    sentences: Iterable[Sequence[str]],
) -> tuple[list[str], Int[ndarray, " text"], Int[ndarray, " text"]]:
    """All words, the text in their numbers, and how many words of its sentence stand before each."""
    numbers = {BEGIN: 0, UNKNOWN: 1, END: 2}
    text: list[int] = []
    lengths: list[int] = []
    for sentence in sentences:
        if sentence:
            text.append(0)
            text.extend([numbers.setdefault(word, len(numbers)) for word in sentence])
            text.append(2)
            lengths.append(len(sentence) + 2)
    starts = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths) if lengths else np.zeros(0, dtype=np.int64)
    return list(numbers), np.array(text, dtype=np.int64), np.arange(len(text)) - starts


def _count(
    text: Int[ndarray, " text"], places: Int[ndarray, " text"], order: int, words: int
) -> list[_Order]:
    """The n-grams of each order, as pairs of a history and a word, which sorting finds."""
    first = np.zeros(words, dtype=np.int64)
    first[text[::-1]] = np.arange(len(text))[::-1]
    nothing = np.zeros(words, dtype=np.int64)
    orders = [_Order(first, np.bincount(text, minlength=words), nothing, nothing)]
    numbers = text  # of the n-gram that ends at each place
    for length in range(2, order + 1):
        ends = np.flatnonzero(places >= length - 1)
        keys = numbers[ends - 1] * words + text[ends]
        _, at, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        last = ends[at]
        orders.append(_Order(last, counts, numbers[last - 1], numbers[last]))
        longer = np.zeros_like(numbers)
        longer[ends] = inverse
        numbers = longer
    return orders


def _adjusted(
    found: _Order, above: _Order | None, *, starts: Bool[ndarray, " grams"]
) -> Int[ndarray, " grams"]:
    """The counts of the highest order; below it, how many words each n-gram follows."""
    if above is None:
        return found.counts.copy()
    return np.where(starts, found.counts, np.bincount(above.shorter, minlength=len(found.counts)))
