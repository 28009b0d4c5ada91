"""Transcripts reduced to what is said."""

import unicodedata

APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc`\u00b4", "'"))


def normalize(text: str) -> str:
    """Lower case; letters (with their marks), digits and apostrophes; one space for everything between."""
    plain = unicodedata.normalize("NFC", text).translate(APOSTROPHES).lower()
    kept = (
        char if char == "'" or unicodedata.category(char)[0] in "LM" or char.isdigit() else " "
        for char in plain
    )
    return " ".join("".join(kept).split())
