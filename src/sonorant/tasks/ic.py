"""IC, intent classification: what a spoken order wants, in one slot or several.

L. Lugosch et al., "Speech Model Pre-training for End-to-End Spoken Language Understanding", Interspeech 2019,
https://arxiv.org/abs/1904.03670 (Fluent Speech Commands: action, object, location). The label `intent`, and
every label that begins with `intent.`, is a slot.
"""

from collections.abc import Mapping

from sonorant.data.manifest import Clip
from sonorant.tasks._classes import Classes

SLOT = "intent"


class Task(Classes):
    """The share of clips with all slots right."""

    title = "IC"
    data = "a label `intent`, or labels `intent.NAME` for several slots"

    @classmethod
    def slots(cls, clip: Clip) -> Mapping[str, str]:
        labels = clip.labels or {}
        return {name: value for name, value in labels.items() if name == SLOT or name.startswith(f"{SLOT}.")}
