"""ER, emotion recognition: which emotion a clip is spoken with.

C. Busso et al., "IEMOCAP: interactive emotional dyadic motion capture database", 2008; in SUPERB four
emotions, five folds, each of them one session of two speakers. The label `emotion` names it, `fold` the fold.
"""

from collections.abc import Mapping

from sonorant.data.manifest import Clip
from sonorant.task import label
from sonorant.tasks._classes import Classes


class Task(Classes):
    """Accuracy of the emotion, over the clips of all folds together (SUPERB: the mean over folds)."""

    title = "ER"
    data = "a label `emotion`"

    @classmethod
    def slots(cls, clip: Clip) -> Mapping[str, str]:
        emotion = label(clip, "emotion")
        return {"emotion": emotion} if emotion else {}
