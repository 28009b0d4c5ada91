"""KS, keyword spotting: which word of a closed set a clip is.

P. Warden, "Speech Commands", 2018, https://arxiv.org/abs/1804.03209; in SUPERB ten words, `unknown` and
`silence`. The label `keyword` names the word, whatever the set.
"""

from collections.abc import Mapping

from sonorant.data.manifest import Clip
from sonorant.task import label
from sonorant.tasks._classes import Classes


class Task(Classes):
    """Accuracy of the word."""

    title = "KS"
    data = "a label `keyword`"

    @classmethod
    def slots(cls, clip: Clip) -> Mapping[str, str]:
        word = label(clip, "keyword")
        return {"keyword": word} if word else {}
