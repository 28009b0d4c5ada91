"""Guards ARPA files, there and back, and what models answer, in Python and by KenLM where it is installed."""

import math
import random
from importlib.util import find_spec

import numpy as np
import pytest

from sonorant.lm import arpa
from sonorant.lm.arpa import ArpaError
from sonorant.lm.kneser_ney import estimate
from sonorant.lm.model import Backoff, KenLM, load, perplexity

# `b a` has no back-off weight, `a c` and its history's probability come from two orders.
FILE = """\\data\\
ngram 1=6
ngram 2=3
ngram 3=1

\\1-grams:
-1.5\t<unk>
-99\t<s>\t-0.25
-1\t</s>
-0.5\ta\t-0.3
-0.75\tb\t-0.2
-1.25\tc

\\2-grams:
-0.125\t<s> a\t-0.0625
-0.375\ta b\t-0.5
-0.625\tb a

\\3-grams:
-0.03125\t<s> a b

\\end\\
"""
needs_kenlm = pytest.mark.skipif(find_spec("kenlm") is None, reason="kenlm is not installed")
READERS = [Backoff, pytest.param(KenLM, marks=needs_kenlm)]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "lm.arpa"
    path.write_text(FILE)
    return path


def scores(model, words):
    state, found = model.start, []
    for word in words:
        state, score = model.score(state, word)
        found.append(score)
    return found


@pytest.mark.parametrize("reader", READERS)
def test_an_unseen_word_has_the_shorter_history_and_its_weight(path, reader):
    model = reader(path)
    assert scores(model, "ab") == pytest.approx([-0.125, -0.03125])
    assert scores(model, "aba") == pytest.approx([-0.125, -0.03125, -0.5 - 0.625])
    assert scores(model, "ac") == pytest.approx([-0.125, -0.0625 - 0.3 - 1.25])
    assert scores(model, "b") == pytest.approx([-0.25 - 0.75])
    assert scores(model, "cab") == pytest.approx([-0.25 - 1.25, -0.5, -0.375])
    assert scores(model, "zb") == pytest.approx([-0.25 - 1.5, -0.75])
    assert scores(model, ["a", "b", "</s>"])[2] == pytest.approx(-0.5 - 0.2 - 1)


@pytest.mark.parametrize("reader", READERS)
def test_a_model_without_an_unknown_word_says_that_it_is_unlikely(tmp_path, reader):
    path = tmp_path / "closed.arpa"
    path.write_text(FILE.replace("-1.5\t<unk>\n", "").replace("ngram 1=6", "ngram 1=5"))
    assert scores(reader(path), "zb") == pytest.approx([-0.25 - 100, -0.75])


@needs_kenlm
def test_kenlm_answers_the_same(tmp_path):
    generator = random.Random(4)
    sentences = [[f"w{int(generator.expovariate(0.3))}" for _ in range(7)] for _ in range(80)]
    path = tmp_path / "lm.arpa"
    arpa.write(path, estimate(sentences, 4))
    ours, theirs = Backoff(path), KenLM(path)
    assert isinstance(load(path), KenLM)
    for _ in range(200):
        words = [f"w{int(generator.expovariate(0.25))}" for _ in range(8)]
        assert scores(ours, words) == pytest.approx(scores(theirs, words), abs=1e-5)
    assert ours.unigrams == theirs.unigrams


def test_a_model_is_read_as_it_was_written(tmp_path):
    grams = estimate([["a", "b", "a"], ["b"], ["ä", "a"]], 3)
    path = tmp_path / "lm.arpa"
    arpa.write(path, grams)
    entries = list(arpa.read(path))
    expected = [
        (tuple(grams.words[word] for word in row), probability, backoff)
        for rows, *values in zip(grams.rows, grams.probabilities, grams.backoffs, strict=True)
        for row, probability, backoff in zip(
            rows.tolist(), *(value.tolist() for value in values), strict=True
        )
    ]
    assert [entry.words for entry in entries] == [words for words, _, _ in expected]
    with np.errstate(divide="ignore"):
        for entry, (words, probability, backoff) in zip(entries, expected, strict=True):
            told = max(np.log10(probability), -99)
            assert (entry.probability, entry.backoff) == pytest.approx((told, np.log10(backoff)), abs=1e-6), (
                words
            )
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("\\data\\\n", "", 1, r"not an ARPA file: expected \\data\\, got 'ngram 1=6'"),
        ("ngram 2=3", "ngram 3=3", 3, "expected ngram 2=COUNT, got 'ngram 3=3'"),
        ("ngram 1=6", "ngram 1=six", 2, "expected ngram 1=COUNT, got 'ngram 1=six'"),
        ("ngram 1=6", "ngram 1=7", 14, "expected a probability, 1 words and perhaps a back-off weight"),
        ("ngram 2=3", "ngram 2=2", 17, r"expected \\3-grams:, got '-0.625"),
        ("-0.5\ta\t", "-0.x\ta\t", 10, "expected numbers before and behind the words"),
        ("-0.5\ta\t", "nan\ta\t", 10, "expected the logarithm of a probability"),
        ("-0.5\ta\t-0.3", "-0.5\ta\tinf", 10, "and a finite weight"),
        ("-0.5\ta\t", "0.5\ta\t", 10, "expected the logarithm of a probability"),
        ("<s> a b", "<s> c b", 20, "'<s> c' is not among the 2-grams"),
        ("-0.625\tb a", "-0.625\ta b", 17, "'a b' comes twice"),
        ("\\end\\\n", "", 21, r"the file ends where \\end\\ should follow"),
        ("-0.03125\t<s> a b\n\n\\end\\\n", "", 19, "the file ends where the rest of 1 3-grams should follow"),
    ],
)
def test_a_bad_file_is_told_with_its_line(tmp_path, reader, old, new, line, told):
    path = tmp_path / "bad.arpa"
    assert old in FILE
    path.write_text(FILE.replace(old, new, 1))
    if reader is KenLM and "twice" in told:
        return  # which takes the last one
    with pytest.raises(ArpaError) as error:
        reader(path)
    assert str(error.value).startswith(f"{path}: line {line}: ")
    assert told.replace("\\\\", "\\") in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ArpaError, match=r"nosuch\.arpa: cannot be read: No such file"):
        load(tmp_path / "nosuch.arpa")
    (tmp_path / "binary.arpa").write_bytes(b"\xff\xfe\x00" * 9)
    with pytest.raises(ArpaError, match=r"binary\.arpa: not an ARPA file: not text in UTF-8"):
        load(tmp_path / "binary.arpa")


@pytest.mark.parametrize("reader", READERS)
def test_perplexity_is_one_over_the_geometric_mean(path, reader):
    found = perplexity(reader(path), [["a", "b"], [], ["z"]])
    known = [-0.125, -0.03125, -0.5 - 0.2 - 1, -1]
    unknown = -0.25 - 1.5
    assert (found.words, found.unknown) == (5, 1)
    assert found.known == pytest.approx(10 ** (-sum(known) / 4), rel=1e-6)
    assert found.perplexity == pytest.approx(10 ** (-(sum(known) + unknown) / 5), rel=1e-6)
    with pytest.raises(arpa.TextError, match="no words"):
        perplexity(reader(path), [[]])


def test_perplexity_of_a_uniform_model_is_the_number_of_words(tmp_path):
    path = tmp_path / "uniform.arpa"
    one = math.log10(1 / 4)
    path.write_text(
        f"\\data\\\nngram 1=4\n\n\\1-grams:\n{one} </s>\n{one} a\n{one} b\n{one} <unk>\n\n\\end\\\n"
    )
    assert perplexity(Backoff(path), [["a", "b", "x"]]).perplexity == pytest.approx(4)
