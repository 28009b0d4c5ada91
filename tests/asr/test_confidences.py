"""Guards the confidences of labels: each has its own characters', whatever pieces the text is cut into."""

import pytest

from sonorant.asr.confidences import label_confidences
from sonorant.asr.vocabulary import Vocabulary, VocabularyError
from sonorant.data.manifest import Clip


def clip(text, confidence):
    return Clip("c", "c.wav", text=text, confidence=confidence)


class Pieces(Vocabulary):
    """Subwords that are given."""

    def encode(self, text, *, skip_unknown=False):
        return list(range(1, 1 + len(self.characters)))

    def __post_init__(self):
        pass

    def piece(self, label):
        return self.characters[label - 1]


def test_characters_have_their_own():
    assert label_confidences(clip("a b", [0.9, 0.5, 0.4]), Vocabulary(("a", "b"))) == pytest.approx(
        [0.9, 0.5, 0.4]
    )


def test_a_subword_has_the_mean_of_its_characters_without_the_space():
    told = clip("ab c de", [0.9, 0.4, 0.1, 0.7, 0.1, 0.2, 0.8])
    assert label_confidences(told, Pieces((" ab", " c", " d", "e"))) == pytest.approx([0.6, 0.7, 0.2, 0.8])
    alone = Pieces((" ", "ab", " ", "c", " de"))
    assert label_confidences(told, alone) == pytest.approx([0.9, 0.6, 0.1, 0.7, 0.4])


def test_a_clip_without_them_or_with_another_text_is_named():
    with pytest.raises(VocabularyError, match="c: has no confidences"):
        label_confidences(clip("ab", None), Vocabulary(("a", "b")))
    with pytest.raises(VocabularyError, match="c: 'aX' would be written 'a'"):
        label_confidences(clip("aX", [1.0, 1.0]), Vocabulary(("a",)))
