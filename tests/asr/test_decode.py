"""Guards the decoders, against every path of tiny lattices, and the times and confidences of words."""

import itertools
from collections import defaultdict
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonorant.asr.beam import SURE, Beam, beam
from sonorant.asr.decode import Token, forced_alignment, greedy, words
from sonorant.asr.vocabulary import Vocabulary

quick = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
lattices = st.tuples(st.integers(0, 5), st.integers(2, 4), st.integers(0, 2**32 - 1))


def lattice(frames, labels, seed):
    """With no blank so sure that the search takes it for granted."""
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(labels), size=frames)
    rows = np.log(probabilities.reshape(frames, labels))
    rows[:, 0] = np.minimum(rows[:, 0], SURE)
    return rows


def paths(rows):
    """Every path with its collapsed labels and its log probability."""
    for path in itertools.product(range(rows.shape[1]), repeat=len(rows)):
        labels = tuple(label for label, _ in itertools.groupby(path) if label)
        yield path, labels, sum(row[label] for row, label in zip(rows, path, strict=True))


def labellings(rows, weight=lambda labels: 0.0):
    totals = {}
    for _, labels, value in paths(rows):
        totals[labels] = np.logaddexp(totals.get(labels, -np.inf), value)
    return {labels: total + weight(labels) for labels, total in totals.items()}


@quick
@given(lattices)
def test_greedy_is_the_likeliest_path(shape):
    rows = lattice(*shape)
    _, labels, _ = max(paths(rows), key=lambda each: each[2])
    assert tuple(token.label for token in greedy(rows)) == labels


@quick
@given(lattices)
def test_a_wide_beam_is_the_likeliest_labelling(shape):
    rows = lattice(*shape)
    totals = labellings(rows)
    labels, score, _ = Beam(width=1000, threshold=np.inf).search(rows)
    assert score == pytest.approx(max(totals.values()), abs=1e-9)
    assert labels == max(totals, key=totals.get)


@quick
@given(lattices)
def test_a_wide_beam_with_a_scorer_is_the_best_of_both_sums(shape):
    rows = lattice(*shape)
    table = np.log(np.random.default_rng(shape[2] + 1).uniform(0.05, 2.0, (4, 4)))

    class Bigram:  # a state is the label before
        start = 0

        def ready(self, states):
            pass

        def added(self, state):
            return table[state, : rows.shape[1]]

        def step(self, _, label):
            return label

        def end(self, state):
            return -0.3 * state

    def weight(labels):
        pairs = itertools.pairwise((0, *labels))
        return sum(table[before, label] for before, label in pairs) - 0.3 * (0, *labels)[-1]

    totals = labellings(rows, weight)
    labels, score, _ = Beam(width=1000, threshold=np.inf, scorer=Bigram()).search(rows)
    assert score == pytest.approx(max(totals.values()), abs=1e-9)
    assert labels == max(totals, key=totals.get)


def slow_beam(rows, width):
    """Prefix beam search as its paper has it, with probabilities in dictionaries."""
    beams = {(): (1.0, 0.0)}  # prefix: probability of its paths that end in a blank, and in its last label
    for row in np.exp(rows):
        new = defaultdict(lambda: np.zeros(2))
        for prefix, (blank, label) in beams.items():
            new[prefix][0] += (blank + label) * row[0]
            if prefix:
                new[prefix][1] += label * row[prefix[-1]]
            for following in range(1, len(row)):
                repeated = prefix[-1:] == (following,)
                new[(*prefix, following)][1] += (blank if repeated else blank + label) * row[following]
        best = sorted(new, key=lambda prefix: -new[prefix].sum())[:width]
        beams = {prefix: tuple(new[prefix]) for prefix in best}
    best = max(beams, key=lambda prefix: sum(beams[prefix]))
    return best, np.log(sum(beams[best]))


@pytest.mark.parametrize("width", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("seed", range(12))
def test_a_narrow_beam_keeps_what_the_slow_one_keeps(width, seed):
    rows = lattice(25, 4, seed)
    labels, score, _ = Beam(width=width, threshold=np.inf).search(rows)
    assert (labels, pytest.approx(score)) == slow_beam(rows, width)


@quick
@given(lattices, st.integers(1, 4), st.integers(1, 3))
def test_a_narrow_beam_finds_a_labelling_no_likelier_than_it_is(shape, width, candidates):
    rows = lattice(*shape)
    labels, score, _ = Beam(width=width, candidates=candidates).search(rows)
    assert score <= labellings(rows)[labels] + 1e-9


def test_the_likeliest_labelling_is_not_that_of_the_likeliest_path():
    rows = np.log([[0.6, 0.4], [0.6, 0.4]])  # no label: 0.36; label 1: 0.64 by three paths
    assert greedy(rows) == []
    assert [token.label for token in beam(rows)] == [1]


@quick
@given(lattices)
def test_alignment_is_the_likeliest_path_of_its_labels(shape):
    rows = lattice(*shape)
    likeliest = {}
    for path, labels, value in paths(rows):
        likeliest[labels] = max(likeliest.get(labels, (-np.inf, ())), (value, path))
    for labels, (_, path) in likeliest.items():
        expected = []
        for label, run in itertools.groupby(range(len(path)), key=path.__getitem__):
            frames = list(run)
            if label:
                confidence = np.exp(rows[frames, label]).mean()
                expected.append((label, frames[0], frames[-1] + 1, pytest.approx(confidence)))
        assert [astuple(token) for token in forced_alignment(rows, labels)] == expected


def test_labels_that_need_more_frames_are_refused():
    assert len(forced_alignment(lattice(3, 3, 0), [1, 1])) == 2
    with pytest.raises(ValueError, match="2 labels need 3 frames, but there are 2"):
        forced_alignment(lattice(2, 3, 0), [1, 1])


def test_words_have_the_times_and_the_confidence_of_their_characters():
    vocabulary = Vocabulary.of(["a b"])
    tokens = [Token(1, 0, 1, 1.0), Token(2, 3, 4, 0.9), Token(3, 5, 7, 0.4), Token(1, 8, 9, 0.1)]
    tokens += [Token(1, 10, 11, 0.2), Token(3, 12, 13, 0.5)]
    first, second = words(tokens, vocabulary, 0.02)
    assert (first.text, first.start, first.end) == ("ab", pytest.approx(0.06), pytest.approx(0.14))
    assert first.confidence == pytest.approx(0.6)
    assert (second.text, second.start, second.end) == ("b", pytest.approx(0.24), pytest.approx(0.26))
    assert list(words([], vocabulary, 0.02)) == []


def test_characters_cover_their_runs_of_frames():
    rows = np.log([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.3, 0.5, 0.2], [0.1, 0.2, 0.7], [0.9, 0.05, 0.05]])
    assert [astuple(token) for token in greedy(rows)] == [
        (1, 1, 3, pytest.approx(0.6)),
        (2, 3, 4, pytest.approx(0.7)),
    ]
