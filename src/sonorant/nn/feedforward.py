"""The two layers that Transformers have behind attention."""

from torch import nn

from sonorant.nn.dropout import Dropout


def feedforward(dim: int, hidden: int, *, dropout: float) -> nn.Sequential:
    """`dim` to `hidden` and back, with GELU and dropout in between."""
    return nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), Dropout(dropout), nn.Linear(hidden, dim))
