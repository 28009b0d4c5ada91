"""SD, diarisation: which of two speakers speaks when, also at the same time.

In SUPERB on Libri2Mix; here two speakers' clips are laid over each other (`data/overlap.py`). The loss does
not know who is first: it takes the better of both assignments (Y. Fujita et al., "End-to-End Neural Speaker
Diarization with Permutation-free Objectives", Interspeech 2019, https://arxiv.org/abs/1909.05952).
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sonorant.data.manifest import Clip
from sonorant.data.overlap import mixtures
from sonorant.evaluate.diarisation import diarisation_errors
from sonorant.evaluate.items import PAUSES
from sonorant.evaluate.ratios import Measured, rate
from sonorant.evaluate.sampling import SamplingError
from sonorant.nn.heads import FrameHead, scaled
from sonorant.task import SPLIT, HeadTask, Times, given, label, of_speakers
from sonorant.types import Padded

COUNTS = (1000, 100, 300)  # of mixtures at most, for training, validation and test
GRID = 0.01  # seconds, on which errors are counted for upstreams of every frame rate
SPEAKERS = 2


class Recurrent(nn.Module):
    """One LSTM and a linear layer."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(dim, hidden, batch_first=True)
        self.out = nn.Linear(hidden, SPEAKERS)

    def forward(self, frames: Padded) -> Padded:
        values, _ = self.recurrent(frames.zeroed().values)  # forwards only: padding comes behind
        return Padded(self.out(values), frames.lengths)


class Task(HeadTask):
    """Diarisation error rate, without a collar. The paper's head has an LSTM; `linear` sees single frames."""

    title = "SD"
    metric = "der"
    higher = False
    data = "a `speaker`, or a label `mixture` with the speakers as `units`"
    heads = ("recurrent", "linear")

    def __init__(self, train: Sequence[Clip], times: Times) -> None:
        self.times = times

    @classmethod
    def takes(cls, clip: Clip) -> bool:
        return bool(clip.speaker) or _mixed(clip)

    @classmethod
    def made(cls, clips: Sequence[Clip], folder: Path) -> Sequence[Clip]:
        """Mixtures within each part, or those that the clips are. SamplingError: too few speakers."""
        if ready := [clip for clip in clips if _mixed(clip)]:
            return ready
        found = given(clips) if all(label(clip, SPLIT) for clip in clips) else of_speakers(clips)
        known = {clip.id: clip for clip in clips}
        made = []
        sides = zip(("train", "validation", "test"), (found.train, found.validation, found.test), COUNTS,
                    strict=True)  # fmt: skip
        for name, ids, count in sides:
            members = [msgspec.structs.replace(known[each], labels={SPLIT: name}) for each in ids]
            mixed = mixtures(members, folder, count=count, pauses=lambda label: label.upper() in PAUSES)
            if len(mixed) < 2:
                raise SamplingError(f"{name}: {len(mixed)} mixtures of two speakers (give it more speakers)")
            made += mixed
        return made

    def head(self, name: str, dim: int, width: float) -> nn.Module:
        if name == "linear":
            return FrameHead(dim, SPEAKERS, hidden=scaled(256, width))
        return Recurrent(dim, scaled(512, width))

    def loss(self, output: Padded, clips: Sequence[Clip]) -> tuple[Tensor, int]:
        """The binary cross-entropy of the better assignment of each clip, and the number of frames."""
        total = output.values.new_zeros(())
        for logits, length, clip in zip(output.values, output.lengths.tolist(), clips, strict=True):
            centres = self.times.first_centre + self.times.frame_seconds * torch.arange(length)
            truth = activity(clip, centres).float().to(logits.device)
            costs = [
                F.binary_cross_entropy_with_logits(logits[:length], each, reduction="sum")
                for each in (truth, truth.flip(1))
            ]
            total = total + torch.minimum(*costs)
        return total, int(output.lengths.sum())

    def predictions(self, output: Padded) -> list[Tensor]:
        active = (output.values > 0).cpu()
        return [each[:length] for each, length in zip(active, output.lengths.tolist(), strict=True)]

    def score(self, clips: Sequence[Clip], predictions: Sequence[Tensor]) -> list[Measured]:
        counts = []
        for clip, said in zip(clips, predictions, strict=True):
            centres = GRID * (torch.arange(int(clip.seconds / GRID)) + 0.5)
            places = ((centres - self.times.first_centre) / self.times.frame_seconds).round().long()
            counts.append(diarisation_errors(activity(clip, centres), said[places.clamp(0, len(said) - 1)]))
        errors, totals = torch.tensor(counts, dtype=torch.float64).T
        return [rate(self.metric, errors, totals, clips)]


def activity(clip: Clip, centres: Tensor) -> Tensor:
    """Whether each of the two speakers of a mixture speaks at these times: `times 2`."""
    names = list(dict.fromkeys(name for name, _, _ in clip.units or ()))
    active = torch.zeros(len(centres), SPEAKERS, dtype=torch.bool)
    for name, start, end in clip.units or ():
        active[(centres >= start) & (centres < end), names.index(name)] = True
    return active


def _mixed(clip: Clip) -> bool:
    """Whether the clip is a mixture of two speakers, and its units tell when they speak."""
    return bool(label(clip, "mixture")) and len({name for name, _, _ in clip.units or ()}) == SPEAKERS
