"""A sentence in the words in which it is spoken, so that a transcript says what its audio says.

Numbers become words in any language that num2words has. In English also years, ordinals, decimals, times,
sums of money, percentages and common abbreviations. What is left after that and stands for a word that nobody
can know, such as the slash in 3/4, makes the sentence unspeakable: it is better left out than wrong.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

from sonorant.config import ConfigError
from sonorant.data.text import APOSTROPHES, composed

ABBREVIATIONS = {
    "mr": "mister", "mrs": "missus", "ms": "miss", "dr": "doctor", "prof": "professor", "capt": "captain",
    "col": "colonel", "gen": "general", "lt": "lieutenant", "sgt": "sergeant", "rev": "reverend",
    "hon": "honourable", "gov": "governor", "sen": "senator", "jr": "junior", "sr": "senior",
    "vs": "versus", "etc": "et cetera", "approx": "approximately", "dept": "department", "mt": "mount",
    "ltd": "limited", "inc": "incorporated", "vol": "volume", "messrs": "messieurs",
}  # fmt: skip
PHRASES = {"e.g.": "for example", "i.e.": "that is", "&": " and ", "@": " at ", "=": " equals "}
CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
}
DIGITS = 15  # a longer number is read digit by digit

_ABBREVIATION = re.compile(rf"\b({'|'.join(ABBREVIATIONS)})\.(?=\W|$)", re.IGNORECASE)
_SAINT, _NUMBER = re.compile(r"\bSt\. (?=[A-Z])"), re.compile(r"(?:\bNos?\. ?|#)(?=\d)")
_MONEY = re.compile(r"([$€£])(\d+)(?:\.(\d+))?( (?:hundred|thousand|million|billion|trillion))?(?![\d.]*\d)")
_TIME = re.compile(r"\b(\d{1,2}):([0-5]\d)\b")
_ORDINAL, _DECADE = re.compile(r"\b(\d+)(?:st|nd|rd|th)\b"), re.compile(r"\b(\d{3}0)'?s\b")
_YEAR = re.compile(r"(?<![\w.,$€£-])(1[1-9]\d\d|20\d\d)(?![.,:]?\d| ?%|\w)")
_DECIMAL, _RANGE = re.compile(r"(?<![\d.])(\d+)\.(\d+)\b(?!\.\d)"), re.compile(r"\b(\d+) ?[-\u2013] ?(\d+)\b")
_COMPOUND = re.compile(r"\d+([.,:-]\d+)+")
_MINUS = re.compile(r"(?<!\w)[-\u2212](?=\d)")
_LEFT = re.compile(r"[\d%$€£&+=@#/\\^~<>|°{}\[\]§]|(?<=\w)_(?=\w)")


class UnspeakableError(ValueError):
    """A sentence that cannot be written as it is spoken, and why."""


def spoken(sentence: str, language: str = "en") -> str:
    """The sentence in words; case and punctuation stay, which engines need.

    UnspeakableError: it has no words, or signs whose words are not known. ConfigError: num2words is missing.
    """
    text = sentence.translate(APOSTROPHES)
    text = "".join(each for each in text if unicodedata.category(each) not in ("Cc", "Cf") or each.isspace())
    if language.partition("-")[0] == "en":
        text = _english(text)
    if compound := _COMPOUND.search(text):  # what its marks mean differs from language to language
        raise UnspeakableError(f"no words for {compound[0]!r} (write it as it is spoken)")
    text = re.sub(r"\d+", lambda found: f" {_cardinal(found[0], language)} ", text)
    if left := _LEFT.search(text):
        raise UnspeakableError(f"no words for {left[0]!r} (write it as it is spoken)")
    if not any(character.isalpha() for character in text):
        raise UnspeakableError("has no words")
    return re.sub(r" (?=[.,;:!?)])", "", composed(text))


def _english(text: str) -> str:
    for phrase, words in PHRASES.items():
        text = text.replace(phrase, words)
    text = _ABBREVIATION.sub(lambda found: _cased(found[1], ABBREVIATIONS[found[1].lower()]), text)
    text = _SAINT.sub("Saint ", text).replace(" St.", " Street")
    text = _RANGE.sub(_range, _NUMBER.sub("number ", text))
    text = _DECADE.sub(lambda found: _plural(_words(int(found[1]), to="year")), text)
    text = _YEAR.sub(lambda found: _words(int(found[1]), to="year"), text)
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)  # only now, because 1,984 is no year
    text = _TIME.sub(_time, _MONEY.sub(_money, text))
    text = re.sub(r"(?<=\d) ?%", " per cent", _MINUS.sub("minus ", text))
    text = _ORDINAL.sub(lambda found: _words(int(found[1]), to="ordinal"), text)
    return _DECIMAL.sub(lambda found: f"{_cardinal(found[1])} point {_each(found[2])}", text)


def _cased(found: str, words: str) -> str:
    return words.capitalize() if found[0].isupper() else words


def _money(found: re.Match[str]) -> str:
    sign, whole, part, size = found.groups()
    one, many, small, smalls = CURRENCIES[sign]
    if part is not None and len(part) != 2 and not size:
        return found[0]
    if size:
        return f"{whole}{f'.{part}' if part else ''}{size} {many}"
    said = f"{_cardinal(whole)} {one if int(whole) == 1 else many}"
    if part is None or part == "00":
        return said
    return f"{said} and {_cardinal(str(int(part)))} {small if int(part) == 1 else smalls}"


def _time(found: re.Match[str]) -> str:
    hour, minute = int(found[1]), int(found[2])
    if minute == 0:
        return f"{_cardinal(str(hour))} o'clock"
    return f"{_cardinal(str(hour))} {'oh ' if minute < 10 else ''}{_cardinal(str(minute))}"


def _plural(words: str) -> str:
    return f"{words[:-1]}ies" if words.endswith("y") else f"{words}s"


def _range(found: re.Match[str]) -> str:
    first, last = found.groups()
    likely = int(first) < int(last) and len(first) in (1, 2, len(last))  # else a score, or a telephone
    return f"{first} to {last}" if likely else found[0]


def _each(digits: str, language: str = "en") -> str:
    return " ".join(_words(int(digit), language) for digit in digits)


def _cardinal(digits: str, language: str = "en") -> str:
    if len(digits) > DIGITS or (len(digits) > 1 and digits[0] == "0"):
        return _each(digits, language)
    return _words(int(digits), language)


def _words(number: int, language: str = "en", to: str = "cardinal") -> str:
    try:
        said: str = _num2words()(number, lang=language.replace("-", "_"), to=to)
    except NotImplementedError as error:
        raise UnspeakableError(
            f"no words for numbers in {language!r} (write them as they are spoken)"
        ) from error
    return said.replace(",", "")


@cache
def _num2words() -> Callable[..., Any]:
    try:
        from num2words import num2words
    except ImportError as error:
        raise ConfigError(
            "numbers: need num2words (pip install 'sonorant[tts]', or write them in words)"
        ) from error
    found: Callable[..., Any] = num2words
    return found
