"""What tasks share that write a sequence of labels, without times, trained with CTC and decoded greedily."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sonorant.asr.decode import greedy
from sonorant.data.manifest import Clip
from sonorant.nn.ctc import ctc_losses, fitting
from sonorant.task import HeadTask
from sonorant.types import Padded, pad


class Sequences(HeadTask):
    """CTC over labels, of which 0 is the blank. A clip with more labels than its frames can carry teaches
    nothing, and is measured like the others."""

    higher = False

    @abstractmethod
    def labels(self, clip: Clip) -> list[int]:
        """The clip's labels, without those that training does not know."""

    @abstractmethod
    def said(self, labels: Sequence[int]) -> Any:
        """What labels mean, whatever their numbers are in another fold."""

    def loss(self, output: Padded, clips: Sequence[Clip]) -> tuple[Tensor, int]:
        """The sum of -ln p(labels | frames), and the number of labels."""
        labels = pad([torch.tensor(self.labels(clip), dtype=torch.long) for clip in clips])
        labels = labels.to(output.values.device)
        log_probabilities = _log_probabilities(output)
        losses, fits = ctc_losses(log_probabilities, labels), fitting(labels, log_probabilities.lengths)
        return losses.sum(), int(labels.lengths.clamp(min=1)[fits].sum())

    def predictions(self, output: Padded) -> list[Any]:
        """What each clip says: the best label of each frame, repeats and blanks dropped."""
        values = _log_probabilities(output).values.detach().cpu().numpy()
        return [
            self.said([token.label for token in greedy(frames[:length])])
            for frames, length in zip(values, output.lengths.tolist(), strict=True)
        ]


def _log_probabilities(output: Padded) -> Padded:
    return Padded(F.log_softmax(output.values.float(), dim=-1), output.lengths)
