"""What a worker says of a batch."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Judged:
    """Of each row of a batch the mean loss, whether anything was asked of it, and of a discriminator the
    share of right answers."""

    loss: Float[Tensor, " rows"]
    asked: Bool[Tensor, " rows"]
    right: Float[Tensor, " rows"] | None = None

    def metrics(self, name: str, frames: Tensor) -> dict[str, Float[Tensor, ""]]:
        """Means over the rows that were asked, which count as often as they have frames."""
        counted = frames * self.asked
        figures = {name: self.loss.detach()}
        if self.right is not None:
            figures[f"{name}_accuracy"] = self.right
        return {key: (each * counted).sum() / counted.sum().clamp(min=1) for key, each in figures.items()}
