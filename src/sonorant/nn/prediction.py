"""From contextual frames back to frames: the head that rebuilds them, and the error of foreseeing them."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sonorant.types import Loss, Padded


class ReconstructionHead(nn.Sequential):
    """Two layers, as in Mockingjay (Liu et al. 2020, https://arxiv.org/abs/1910.12638) and TERA."""

    def __init__(self, dim: int, frame_dim: int) -> None:
        super().__init__(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim), nn.Linear(dim, frame_dim))


def ahead_loss(predicted: Float[Tensor, "targets dim"], frames: Padded, *, shift: int) -> Loss:
    """The L1 error of foreseeing, `shift` steps ahead, every frame that has a frame so many steps before it.

    The error of a frame is the mean over its dimensions. `predicted` goes through the utterances in order:
    one row for each True of `frames.mask[:, shift:]`.
    """
    real = frames.mask[:, shift:]
    targets = frames.values[:, shift:][real]
    error = (targets - predicted).abs().mean(-1).sum()
    copied = (targets - frames.values[:, :-shift][real]).abs().mean(-1).sum()
    count = real.sum()
    metrics = {
        "error": error.detach() / count.clamp(min=1),
        "error_of_copying": copied / count.clamp(min=1),
        "relative_error": error.detach() / copied.clamp(min=1e-12),  # below 1: better than repeating x_t
        "prediction_spread": prediction_spread(predicted, targets),
    }
    return Loss(error, count, metrics)


@torch.no_grad()
def prediction_spread(
    predicted: Float[Tensor, "targets dim"], targets: Float[Tensor, "targets dim"]
) -> Float[Tensor, ""]:
    """How much predictions vary, for what they predict: the ratio of their standard deviations over frames,
    each the mean over dimensions. 0: always the same."""
    foreseen, real = (each.float().var(0, correction=0).sqrt().mean() for each in (predicted, targets))
    return foreseen / real.clamp(min=1e-12) if len(targets) else foreseen.new_zeros(())
