"""Guards that a text says what its audio says."""

import sys

import pytest

from sonorant.config import ConfigError
from sonorant.tts import spoken as module
from sonorant.tts.spoken import UnspeakableError, spoken


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Mr. Smith knows Dr. No.", "Mister Smith knows Doctor No."),
        ("St. Mary lives on Main St. now.", "Saint Mary lives on Main Street now."),
        ("Fruit, e.g. apples & pears, etc.", "Fruit, for example apples and pears, et cetera"),
        ("\u2019Tis\u00a0 \u201cquoted\u201d,  so\u00adft.", "'Tis \u201cquoted\u201d, soft."),
        ("No, I said no.", "No, I said no."),
    ],
)
def test_words(written, said):
    assert spoken(written) == said


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("I have 3 apples.", "I have three apples."),
        ("He had 1,234 of 42.", "He had one thousand two hundred and thirty-four of forty-two."),
        ("In 1984, not in 2005", "In nineteen eighty-four, not in two thousand and five"),
        ("the 1980s, 21st to 2nd", "the nineteen eighties, twenty-first to second"),
        ("3.14 and -5", "three point one four and minus five"),
        ("$5.50, $1, \u00a31.01", "five dollars and fifty cents, one dollar, one pound and one penny"),
        ("$3.2 million", "three point two million dollars"),
        ("50% at 3:05, 10:00", "fifty per cent at three oh five, ten o'clock"),
        ("No. 7, #8, MP3", "number seven, number eight, MP three"),
        ("1990-1995, 3\u20135", "nineteen ninety to nineteen ninety-five, three to five"),
        ("007", "zero zero seven"),
    ],
)
def test_numbers(written, said):
    pytest.importorskip("num2words")
    assert spoken(written) == said


@pytest.mark.parametrize("written", ["3/4", "555-1234", "1.2.3", "a_b c", "{x}", "\u00b0C", "---", "..."])
def test_what_nobody_can_know_is_refused(written):
    with pytest.raises(UnspeakableError):
        spoken(written)


def test_other_languages_have_numbers_alone():
    pytest.importorskip("num2words")
    assert spoken("Ho 3 gatti.", "it") == "Ho tre gatti."
    assert spoken("J'ai 71 ans.", "fr-FR") == "J'ai soixante et onze ans."
    for written, language in (("1.000 gatti", "it"), ("3", "xx"), ("50%", "it")):
        with pytest.raises(UnspeakableError):
            spoken(written, language)


def test_without_num2words_a_number_tells_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "num2words", None)
    module._num2words.cache_clear()
    assert spoken("No number.") == "No number."
    with pytest.raises(ConfigError, match=r"sonorant\[tts\]"):
        spoken("3")
    module._num2words.cache_clear()
