"""Whether the encoder still tells frames apart, whatever the method: its last layer, now and then."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sonorant.nn.embeddings import effective_rank, spread
from sonorant.types import Padded

MOST = 256  # frames that are looked at: a decomposition of some milliseconds
FEWEST = 32  # fewer say little of a rank


@contextmanager
def watched(context: nn.Module, *, on: bool) -> Iterator[dict[str, Tensor]]:
    """`frame_std` and `frame_rank` of what a context network gives first within, or nothing.

    `frame_std` is the standard deviation of unit-length frames times the root of their width, 1 where they
    point everywhere and 0 where all are the same; `frame_rank` the effective rank of the frames.
    """
    found: dict[str, Tensor] = {}

    def look(_: nn.Module, __: Any, hidden: Any) -> None:
        if not found:
            found.update(figures(hidden.last))

    handle = context.register_forward_hook(look) if on else None
    try:
        yield found
    finally:
        if handle is not None:
            handle.remove()


@torch.no_grad()
def figures(hidden: Padded) -> dict[str, Tensor]:
    """The figures of at most `MOST` real frames, spread evenly over the batch; none of too few."""
    real = hidden.mask.nonzero()
    if len(real) < FEWEST:
        return {}
    places = torch.linspace(0, len(real) - 1, min(MOST, len(real)), device=real.device).round().long()
    row, time = real[places].T
    with torch.autocast(row.device.type, enabled=False):
        frames = hidden.values.detach()[row, time].float()
        return {"frame_std": spread(frames), "frame_rank": effective_rank(frames)}
