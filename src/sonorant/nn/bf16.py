"""Linear layers in bfloat16, for inference on processors that multiply in it."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Bf16Linear(nn.Module):
    """A linear layer whose weights are rounded once and not at every call, perhaps with GELU (`after`).

    oneDNN adds the bias and applies GELU to sums that are still in single precision; PyTorch's own writes the
    bias, then the sums, rounds them, and reads them again for GELU.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = linear.weight.detach().bfloat16()
        self.bias = None if linear.bias is None else linear.bias.detach().bfloat16()
        self.after = "none"

    def forward(self, values: Float[Tensor, "*batch inward"]) -> Float[Tensor, "*batch outward"]:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            values.bfloat16(), self.weight, self.bias, self.after, [], "none"
        )
        return product


def bf16_linears(module: nn.Module) -> None:
    """Replaces every linear layer inside a module, and GELU right behind one in a sequence, for good."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, Bf16Linear(child))
        else:
            bf16_linears(child)
    if isinstance(module, nn.Sequential):
        for place, (layer, after) in enumerate(zip(module, list(module)[1:], strict=False), 1):
            if isinstance(layer, Bf16Linear) and isinstance(after, nn.GELU) and after.approximate == "none":
                layer.after = "gelu"
                module[place] = nn.Identity()


def has_bf16() -> bool:
    """Whether oneDNN is there and multiplies in bfloat16 on this processor, be it slowly."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
