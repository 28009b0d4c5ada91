"""What inference computes in: single precision, bfloat16, or 8-bit integers."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Literal, TypeVar

import torch
from torch import nn

from sonorant.config import ConfigError
from sonorant.nn.bf16 import bf16_linears, has_bf16
from sonorant.nn.int8 import has_vnni, int8_linears
from sonorant.train.loop import autocast_type

PRECISIONS = ("auto", "fp32", "bf16", "int8")
Model = TypeVar("Model", bound=nn.Module)


def prepared(
    model: Model, precision: str, device: torch.device
) -> tuple[Model, Callable[[], AbstractContextManager[object]]]:
    """A model that is ready for inference on a device, and what to call it within.

    `auto` is bfloat16 where the hardware is faster in it, else single precision. `int8` has the linear
    layers in 8-bit integers and the rest as `auto`; recurrences and convolutions are not linear layers.
    ConfigError: the precision is unknown, or the processor is not made for it.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: {precision!r} is not one of {', '.join(PRECISIONS)}")
    kinds: dict[str, Literal["bf16", "fp32"]] = {"bf16": "bf16", "fp32": "fp32"}
    dtype = autocast_type(kinds.get(precision, "auto"), device)
    if precision == "int8":
        if device.type != "cpu" or not has_vnni():
            raise ConfigError("precision: int8 needs a processor with AVX-512 VNNI (use auto)")
        model = copy.deepcopy(model)
        int8_linears(model)
    elif dtype == torch.bfloat16 and device.type == "cpu" and has_bf16():
        model = copy.deepcopy(model)
        bf16_linears(model)

    def computing() -> AbstractContextManager[object]:
        stack = ExitStack()
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch.autocast(device.type, dtype, enabled=dtype != torch.float32))
        return stack

    model.to(device).eval()
    return model, computing
