"""ASV, speaker verification: do two clips have the same speaker, whom training has not heard?

In SUPERB VoxCeleb1 with its list of trials; here every pair of test clips is a trial.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sonorant.data.manifest import Clip
from sonorant.evaluate.ratios import Measured
from sonorant.evaluate.sampling import Parts, SamplingError
from sonorant.evaluate.verification import verification
from sonorant.nn.x_vector import PooledVector, XVector, am_softmax
from sonorant.task import SPLIT, HeadTask, Times, given, label, of_speakers


class Task(HeadTask):
    """Equal error rate. The paper's head is an x-vector; `statistics` pools projected frames."""

    title = "ASV"
    metric = "eer"
    higher = False
    data = "a `speaker`"
    heads = ("x-vector", "statistics")

    def __init__(self, train: Sequence[Clip], times: Times) -> None:
        names = sorted({clip.speaker or "" for clip in train})
        self.numbers = {name: number for number, name in enumerate(names)}

    @classmethod
    def takes(cls, clip: Clip) -> bool:
        return bool(clip.speaker)

    @classmethod
    def parts(cls, clips: Sequence[Clip]) -> list[Parts]:
        """The labelled parts, else a fifth of the speakers for the test and an eighth for validation, at
        least two each, by a hash. SamplingError: a part to measure on has no trials of both kinds."""
        found = given(clips) if all(label(clip, SPLIT) for clip in clips) else of_speakers(clips)
        speakers = {clip.id: clip.speaker for clip in clips}
        for part, ids in (("validation", found.validation), ("test", found.test)):
            voices = [speakers[name] for name in ids]
            if len(set(voices)) < 2 or len(set(voices)) == len(voices):
                raise SamplingError(
                    f"{part}: {len(set(voices))} speakers in {len(voices)} clips (two speakers or more are "
                    "needed, one of them with two clips)"
                )
        return [found]

    def head(self, name: str, dim: int, width: float) -> nn.Module:
        kind = PooledVector if name == "statistics" else XVector
        return kind(dim, len(self.numbers), width=width)

    def loss(self, output: tuple[Tensor, Tensor], clips: Sequence[Clip]) -> tuple[Tensor, int]:
        """The softmax with its margin, of the clips whose speakers are known."""
        _, cosines = output
        places = [place for place, clip in enumerate(clips) if clip.speaker in self.numbers]
        numbers = [self.numbers[clips[place].speaker or ""] for place in places]
        speakers = torch.tensor(numbers, dtype=torch.long, device=cosines.device)
        return am_softmax(cosines[places], speakers), len(places)

    def predictions(self, output: tuple[Tensor, Tensor]) -> list[Tensor]:
        return list(output[0].detach().cpu())

    def score(self, clips: Sequence[Clip], predictions: Sequence[Tensor]) -> list[Measured]:
        return [verification(clips, torch.stack(list(predictions)))]
