"""SID, speaker identification: which of the training part's speakers is heard.

A. Nagrani et al., "VoxCeleb: a large-scale speaker identification dataset", Interspeech 2017,
https://arxiv.org/abs/1706.08612.
"""

import hashlib
from collections.abc import Mapping, Sequence

from sonorant.data.manifest import Clip
from sonorant.evaluate.sampling import Parts, SamplingError
from sonorant.task import SPLIT, given, label
from sonorant.tasks._classes import Classes

CLIPS = 5  # of a speaker at least, where the parts are hashed


class Task(Classes):
    """Accuracy of the speaker."""

    title = "SID"
    data = "a `speaker`"

    @classmethod
    def slots(cls, clip: Clip) -> Mapping[str, str]:
        return {"speaker": clip.speaker} if clip.speaker else {}

    @classmethod
    def parts(cls, clips: Sequence[Clip]) -> list[Parts]:
        """The labelled parts, if every speaker of them is in training; else a fifth of each speaker's clips
        is for the test and a tenth for validation, by a hash. Speakers with few clips are left out then."""
        if all(label(clip, SPLIT) for clip in clips):
            found = given(clips)
            speaker = {clip.id: clip.speaker for clip in clips}
            if {speaker[name] for name in found.test} <= {speaker[name] for name in found.train}:
                return [found]
        members: dict[str, list[str]] = {}
        for clip in clips:
            members.setdefault(clip.speaker or "", []).append(clip.id)
        members = {name: ids for name, ids in members.items() if len(ids) >= CLIPS}
        if len(members) < 2:
            raise SamplingError(f"{len(members)} speakers with {CLIPS} clips or more: two are the least")
        sides: list[list[str]] = [[], [], []]
        for ids in members.values():
            ordered = sorted(ids, key=lambda name: hashlib.blake2b(name.encode()).digest())
            test, validation = len(ids) // 5, -(-len(ids) // 10)
            sides[2] += ordered[:test]
            sides[1] += ordered[test : test + validation]
            sides[0] += ordered[test + validation :]
        return [Parts(tuple(sides[0]), tuple(sides[1]), tuple(sides[2]))]
