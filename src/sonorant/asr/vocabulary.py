"""Characters and their numbers: what a recogniser writes."""

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sonorant.data.manifest import Clip
from sonorant.data.text import composed, normalize

BLANK = 0
SPACE = 1


class VocabularyError(ValueError):
    """A character, a label or a file that does not fit the vocabulary."""


NORMALISATIONS: Mapping[str, Callable[[str], str]] = {"lower_alnum": normalize, "none": composed}


@dataclass(frozen=True)
class Vocabulary:
    """Label 0 is CTC's blank, label 1 the space; the characters of the transcripts follow."""

    characters: tuple[str, ...]  # from label 2 on
    normalisation: str = "lower_alnum"

    def __post_init__(self) -> None:
        if self.normalisation not in NORMALISATIONS:
            raise VocabularyError(
                f"normalisation: {self.normalisation!r} is not one of {', '.join(NORMALISATIONS)}"
            )
        for character in self.characters:
            if len(character) != 1 or character.isspace():
                raise VocabularyError(f"characters: expected single visible characters, got {character!r}")
        if len(set(self.characters)) < len(self.characters):
            raise VocabularyError("characters: one of them comes twice (each gets one label)")

    def __len__(self) -> int:
        """The number of labels, the blank and the space included."""
        return len(self.characters) + 2

    @classmethod
    def of(cls, texts: Iterable[str], *, normalisation: str = "lower_alnum") -> "Vocabulary":
        """The characters of transcripts, in Unicode's order."""
        empty = cls((), normalisation)
        characters = {character for text in texts for character in empty.normalise(text)} - {" "}
        return cls(tuple(sorted(characters)), normalisation)

    def normalise(self, text: str) -> str:
        return NORMALISATIONS[self.normalisation](text)

    def encode(self, text: str, *, skip_unknown: bool = False) -> list[int]:
        """The labels of a text, normalised first. VocabularyError: it has a character without a label."""
        numbers = {character: label for label, character in enumerate(self.characters, start=2)}
        numbers[" "] = SPACE
        text = self.normalise(text)
        if not skip_unknown:
            for character in text:
                if character not in numbers:
                    name = unicodedata.name(character, "no name")
                    raise VocabularyError(
                        f"{character!r} (U+{ord(character):04X}, {name}) in {text!r} has no label "
                        "(build it from all transcripts, or skip unknown characters)"
                    )
        # Once more, since a skipped character may leave two spaces side by side.
        known = "".join(character for character in text if character in numbers)
        return [numbers[character] for character in " ".join(known.split())]

    def labels(self, clip: Clip, *, skip_unknown: bool = False) -> list[int]:
        """The labels of a clip's text. VocabularyError names the clip: no text, or an unknown character."""
        return labels_of(clip, self, skip_unknown=skip_unknown)

    def piece(self, label: int) -> str:
        """What a label writes."""
        return " " if label == SPACE else self.characters[label - 2]

    def decode(self, labels: Sequence[int]) -> str:
        """The text of labels without blanks. VocabularyError: a label that stands for no character."""
        check_labels(labels, len(self))
        return "".join(map(self.piece, labels))

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON, whole or not at all."""
        write_json(path, {"normalisation": self.normalisation, "characters": list(self.characters)})

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """A vocabulary that `save` wrote. VocabularyError: the file is missing or holds something else."""
        try:
            content = json.loads(path.read_text(encoding="utf8"))
            return cls(tuple(content["characters"]), content["normalisation"])
        except OSError as error:
            raise VocabularyError(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise VocabularyError(f"{path}: not a vocabulary: {error}") from error


class Spelling(Protocol):
    """What characters and subwords have in common."""

    @property
    def characters(self) -> tuple[str, ...]: ...  # visible ones

    def __len__(self) -> int: ...

    def normalise(self, text: str) -> str: ...

    def encode(self, text: str, *, skip_unknown: bool = False) -> list[int]: ...

    def labels(self, clip: Clip, *, skip_unknown: bool = False) -> list[int]: ...

    def piece(self, label: int) -> str: ...

    def decode(self, labels: Sequence[int]) -> str: ...

    def save(self, path: Path) -> None: ...


def labels_of(clip: Clip, vocabulary: Spelling, *, skip_unknown: bool) -> list[int]:
    """The labels of a clip's text. VocabularyError names the clip: no text, or an unknown character."""
    if clip.text is None:
        raise VocabularyError(f"{clip.id}: has no text (give the clip one in the manifest, or leave it out)")
    try:
        return vocabulary.encode(clip.text, skip_unknown=skip_unknown)
    except VocabularyError as error:
        raise VocabularyError(f"{clip.id}: {error}") from error


def check_labels(labels: Sequence[int], size: int) -> None:
    """VocabularyError: one of them is not among the labels of a vocabulary of this size, or is the blank."""
    for label in labels:
        if not BLANK < label < size:
            raise VocabularyError(f"label {label} is not between {BLANK + 1} and {size - 1}")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf8")
    partial.replace(path)
