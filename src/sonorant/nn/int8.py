"""Linear layers in 8-bit integers, for inference on processors that multiply them quickly."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

_STEPS = 127  # to either side of zero
_ZERO = 128  # stands for zero: without AMX processors multiply unsigned by signed integers


class Int8Linear(nn.Module):
    """A linear layer whose weights have 255 steps a row, and its inputs as many, fitted to each vector.

    A step a vector instead of one for the whole batch: neither the padding nor the neighbours of an utterance
    change it, and the rounding is a third of it. Sums are exact; the output is float32, or what autocast
    computes in.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float().cpu()
        self.steps = (weight.abs().amax(1) / _STEPS).clamp(min=torch.finfo(torch.float32).tiny)
        self.zeros = torch.zeros(len(weight), dtype=torch.int64)
        rounded = (weight / self.steps[:, None]).round().to(torch.int8)
        self.weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        bias = linear.bias
        self.bias = torch.zeros(len(weight)) if bias is None else bias.detach().float().cpu()

    def forward(self, values: Float[Tensor, "*batch inward"]) -> Float[Tensor, "*batch outward"]:
        lower = torch.is_autocast_enabled("cpu")
        output = torch.get_autocast_dtype("cpu") if lower else torch.float32
        vectors = values.flatten(0, -2).float()
        steps = vectors.abs().amax(1, keepdim=True).clamp_(min=1e-30).div_(_STEPS)
        rounded = (vectors / steps).add_(_ZERO + 0.5).to(torch.uint8)
        product = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, _ZERO, self.weight, self.steps, self.zeros, None, 1.0, 0, output, "none", [], ""
        )
        torch.addcmul(self.bias.to(output), product, steps.to(output), out=product)
        outputs: Tensor = product.unflatten(0, values.shape[:-1])
        return outputs


def int8_linears(module: nn.Module) -> None:
    """Replaces every linear layer inside a module, for good. ValueError: the processor has no VNNI."""
    if not has_vnni():
        raise ValueError("precision: int8 needs a processor with VNNI; on this one fp32 is faster")
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, Int8Linear(child))
        else:
            int8_linears(child)


def has_vnni() -> bool:
    """Whether the processor multiplies 8-bit integers and sums them in 32 bits: in 16 they would overflow."""
    return torch.cpu._is_vnni_supported() or torch.cpu._is_amx_tile_supported()
