"""How sure a recogniser was of each label, from how sure it was of each character of its text."""

import math

from sonorant.asr.vocabulary import Spelling, VocabularyError
from sonorant.data.manifest import Clip


def label_confidences(clip: Clip, vocabulary: Spelling) -> list[float]:
    """A number for each label of a clip's text: the geometric mean of its characters'; the space in front of
    a subword does not count.

    VocabularyError: the clip has no confidences, or a text that the vocabulary would write otherwise.
    """
    if clip.confidence is None or clip.text is None:
        raise VocabularyError(f"{clip.id}: has no confidences (label it: sonorant label)")
    pieces = [vocabulary.piece(label) for label in vocabulary.labels(clip, skip_unknown=True)]
    written = "".join(pieces)
    if written.strip() != clip.text:
        raise VocabularyError(
            f"{clip.id}: {clip.text!r} would be written {written.strip()!r}, so that its confidences belong "
            "to no labels (label it again: sonorant label)"
        )
    at = len(clip.text) - len(written)  # -1 where the first subword begins with a space
    found = []
    for piece in pieces:
        spaces = len(piece) - len(piece.lstrip(" "))
        own = clip.confidence[at + (spaces if spaces < len(piece) else 0) : at + len(piece)]
        at += len(piece)
        own = own or clip.confidence[at : at + 1]  # a space alone in front of the text
        found.append(math.exp(sum(math.log(max(each, 1e-10)) for each in own) / len(own)))
    return found
