"""Subwords and their numbers: a recogniser's labels that are pieces of words, found in its transcripts.

Kudo, "Subword Regularization", ACL 2018, https://arxiv.org/abs/1804.10959 (unigram: the likeliest pieces),
and Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units", ACL 2016,
https://arxiv.org/abs/1508.07909 (bpe: the pairs that occur most often are merged), both by sentencepiece.
"""

import base64
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from sonorant.asr.vocabulary import (
    NORMALISATIONS,
    Vocabulary,
    VocabularyError,
    check_labels,
    labels_of,
    write_json,
)
from sonorant.config import Config
from sonorant.data.manifest import Clip

NEEDED = "pip install 'sonorant[asr]'"
BREAK = "\u2581"  # sentencepiece's sign for the space


class VocabularyConfig(Config, frozen=True, kw_only=True):
    """What a recogniser writes: characters, or subwords of which there are `size`, the blank included."""

    kind: Literal["characters", "unigram", "bpe"] = "characters"
    size: Annotated[int, Meta(ge=4)] | None = None

    def __post_init__(self) -> None:
        if (self.size is None) != (self.kind == "characters"):
            raise ValueError("size belongs to unigram and bpe, which need it, and not to characters")


@dataclass(frozen=True)
class Subwords:
    """Label 0 is CTC's blank, where sentencepiece has what it does not know; the others are its pieces.

    VocabularyError: the model is none of `learn`'s, or sentencepiece is missing.
    """

    kind: str
    model: bytes  # as sentencepiece writes it: a protocol buffer, in which nothing is executed
    normalisation: str = "lower_alnum"

    def __post_init__(self) -> None:
        if self.normalisation not in NORMALISATIONS:
            raise VocabularyError(
                f"normalisation: {self.normalisation!r} is not one of {', '.join(NORMALISATIONS)}"
            )
        if self._processor.unk_id() != 0 or len(self._processor) < 2:
            raise VocabularyError("the model's first piece is not the unknown one")

    @cached_property
    def _processor(self) -> Any:
        processor = _sentencepiece().SentencePieceProcessor()
        try:
            processor.LoadFromSerializedProto(self.model)
        except RuntimeError as error:
            raise VocabularyError(f"not a model of sentencepiece: {' '.join(str(error).split())}") from error
        return processor

    def __len__(self) -> int:
        return len(self._processor)

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """What each label writes, label 0 nothing; a piece that starts a word starts with a space."""
        pieces = (self._processor.id_to_piece(label).replace(BREAK, " ") for label in range(1, len(self)))
        return ("", *pieces)

    @property
    def characters(self) -> tuple[str, ...]:
        """The visible ones that it can spell."""
        return tuple(sorted({character for piece in self.pieces for character in piece} - {" "}))

    def normalise(self, text: str) -> str:
        return NORMALISATIONS[self.normalisation](text)

    def encode(self, text: str, *, skip_unknown: bool = False) -> list[int]:
        """The labels of a text, normalised first. VocabularyError: it has a character without a label."""
        text = self.normalise(text)
        known = {*self.characters, " "}
        kept = " ".join("".join(each for each in text if each in known).split())
        if kept != text and not skip_unknown:
            Vocabulary(self.characters, self.normalisation).encode(text)  # which names the character
        labels: list[int] = self._processor.encode(kept)
        return labels

    def labels(self, clip: Clip, *, skip_unknown: bool = False) -> list[int]:
        """The labels of a clip's text. VocabularyError names the clip: no text, or an unknown character."""
        return labels_of(clip, self, skip_unknown=skip_unknown)

    def piece(self, label: int) -> str:
        """What a label writes."""
        return self.pieces[label]

    def decode(self, labels: Sequence[int]) -> str:
        """The text of labels without blanks. VocabularyError: a label that there is not."""
        check_labels(labels, len(self))
        return " ".join("".join(map(self.piece, labels)).split())

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON, whole or not at all."""
        model = base64.b64encode(self.model).decode()
        write_json(path, {"kind": self.kind, "normalisation": self.normalisation, "model": model})


def learn(
    texts: Iterable[str], config: VocabularyConfig, *, normalisation: str = "lower_alnum"
) -> Vocabulary | Subwords:
    """The vocabulary of transcripts. VocabularyError: they are too few for so many subwords."""
    if config.kind == "characters":
        return Vocabulary.of(texts, normalisation=normalisation)
    if normalisation not in NORMALISATIONS:
        raise VocabularyError(f"normalisation: {normalisation!r} is not one of {', '.join(NORMALISATIONS)}")
    assert config.size is not None
    lines = [line for text in texts if (line := NORMALISATIONS[normalisation](text))]
    if not lines:
        raise VocabularyError("vocabulary: the transcripts have no word to learn subwords from")
    return Subwords(config.kind, _train(lines, config.kind, config.size), normalisation)


def load_vocabulary(path: Path) -> Vocabulary | Subwords:
    """A vocabulary that `save` wrote. VocabularyError: the file is missing or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf8"))
        if "model" not in content:
            return Vocabulary.load(path)
        model = base64.b64decode(content["model"], validate=True)
        return Subwords(content["kind"], model, content["normalisation"])
    except OSError as error:
        raise VocabularyError(f"{path}: cannot be read: {error.strerror}") from error
    except VocabularyError as error:
        told = str(error)
        raise VocabularyError(told if str(path) in told else f"{path}: not a vocabulary: {told}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise VocabularyError(f"{path}: not a vocabulary: {error}") from error


def _train(lines: Sequence[str], kind: str, size: int) -> bytes:
    model = BytesIO()
    try:
        _sentencepiece().SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=kind,
            vocab_size=size,
            character_coverage=1.0,
            normalization_rule_name="identity",  # done already
            max_sentence_length=max(10, *(len(line.encode()) + 1 for line in lines)),  # no text is left out
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,  # sums in one order
            minloglevel=2,
        )
    except RuntimeError as error:
        told = " ".join(str(error).split())
        if most := re.search(r"value <= (\d+)", told):
            cause = f"the transcripts give {most[1]} {kind} subwords at most (set it to {most[1]} or less)"
        elif least := re.search(r"(\d+) vs (\d+)", told):
            cause = f"the transcripts have more characters (set it to {least[2]} or more)"
        else:
            cause = told
        raise VocabularyError(f"vocabulary.size: {size}: {cause}") from error
    return model.getvalue()


def _sentencepiece() -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise VocabularyError(f"vocabulary: subwords need the package sentencepiece ({NEEDED})") from error
    return sentencepiece
