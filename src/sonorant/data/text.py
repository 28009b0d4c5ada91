"""Transcripts reduced to what is said."""

import unicodedata

APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc`\u00b4", "'"))


def normalize(text: str) -> str:
    """Letters and digits of any script, with their marks, in lower case, and apostrophes; else spaces."""
    # Composed before, since that may make an apostrophe, and after, since lower case may take apart.
    lower = unicodedata.normalize("NFC", text).translate(APOSTROPHES).lower()
    return composed("".join(_kept(character) for character in lower))


def composed(text: str) -> str:
    """The text as it is, in Unicode's composed form and with single spaces between words."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _kept(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":  # soft hyphens and joiners are invisible, and no word ends at one
        return ""
    return character if category[0] in "LMN" or character == "'" else " "
