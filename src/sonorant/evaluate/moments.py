"""What CCA and linear CKA need of paired frames, as sums in double precision: batches add, groups come off.

With frames x_i and y_i, shifted by a fixed origin so that no digits are lost where features lie far from
zero, the sums are those of x_i, y_i, x_i y_i^T for covariances, and those with |x_i|^2 and |y_i|^2 for the
terms of equal indices that an unbiased estimate leaves out.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Sums over frames of two sides."""

    count: Float[Tensor, ""]
    x: Float[Tensor, " p"]
    y: Float[Tensor, " q"]
    cross: Float[Tensor, "p q"]  # x y^T
    x_norm: Float[Tensor, ""]  # |x|^2
    y_norm: Float[Tensor, ""]
    norms: Float[Tensor, ""]  # |x|^2 |y|^2
    x_by_y: Float[Tensor, " p"]  # x |y|^2
    y_by_x: Float[Tensor, " q"]  # y |x|^2

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(*(getattr(self, each.name) - getattr(other, each.name) for each in fields(self)))

    @property
    def covariance(self) -> Float[Tensor, "p q"]:
        return (self.cross - torch.outer(self.x, self.y) / self.count) / (self.count - 1)


def moments(x: Float[Tensor, "n p"], y: Float[Tensor, "n q"]) -> Moments:
    """Of frames that are already shifted and in double precision."""
    x_norms, y_norms = x.square().sum(1), y.square().sum(1)
    return Moments(
        count=torch.tensor(float(len(x)), dtype=x.dtype),
        x=x.sum(0),
        y=y.sum(0),
        cross=x.T @ y,
        x_norm=x_norms.sum(),
        y_norm=y_norms.sum(),
        norms=x_norms @ y_norms,
        x_by_y=y_norms @ x,
        y_by_x=x_norms @ y,
    )
