"""A teacher: a slow copy of a context network, whose layers a student learns to predict."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sonorant.encoders.base import Context
from sonorant.nn.momentum import follow, follower
from sonorant.nn.normalize import standardize
from sonorant.nn.positions import ConvolutionalPositions
from sonorant.types import Padded

EPSILON = 1e-5  # of the variance, as in PyTorch's instance normalisation


class Teacher(nn.Module):
    """data2vec's teacher: an exponential moving average of a context network (Baevski et al. 2022,
    https://arxiv.org/abs/2202.03555, section 3.3).

    Its parameters have no gradient and it is always in evaluation mode. Convolutional positions are the
    student's own, and so is all that comes before the context network. Both were copies of equal weights at
    first. As parameters its weights are in slices under `train.shard`, as the student's are.
    """

    def __init__(self, student: Context) -> None:
        super().__init__()
        self.context = follower(student).eval()

    def train(self, mode: bool = True) -> "Teacher":
        """Stays in evaluation mode, whatever `mode` is: a teacher drops nothing."""
        return super().train(False)

    @torch.no_grad()
    def follow(self, student: Context, decay: float) -> None:
        """Keeps the share `decay` of its weights and takes the rest from the student's."""
        follow(self.context, student, decay)
        for own, shared in zip(_positions(self.context), _positions(student), strict=True):
            own.copy_(shared)

    @torch.no_grad()
    def targets(self, frames: Padded, layers: int) -> list[Padded]:
        """What the feed-forward blocks of the last `layers` layers make of projected frames, `batch time dim`
        each, before it is added to their input; every channel is standardised over an utterance's frames."""
        with _recorded(self.context.feedforwards()[-layers:]) as outputs:
            self.context(frames)
        return [standardize(Padded(each.float(), frames.lengths), epsilon=EPSILON) for each in outputs]


def check_teachable(method: str, context: Context, layers: int) -> None:
    """ValueError unless a teacher can give so many layers of such a context network."""
    depth = len(context.feedforwards())
    if not depth:
        raise ValueError(
            f"{method}: predicts feed-forward blocks, and encoder.context has none: choose transformer or "
            "conformer"
        )
    if layers > depth:
        raise ValueError(f"{method}: top_layers is {layers}, but encoder.context has {depth} layers")


@contextmanager
def _recorded(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """The outputs of modules that are called within, in the order of the calls."""
    outputs: list[Tensor] = []
    # not for good: a hook would still fill this list in copies of the module
    handles = [each.register_forward_hook(lambda _, __, output: outputs.append(output)) for each in modules]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _positions(context: Context) -> list[nn.Parameter]:
    """The convolutional positions' parameters."""
    modules = (each for each in context.modules() if isinstance(each, ConvolutionalPositions))
    return [parameter for module in modules for parameter in module.parameters()]
