"""A running mean of the weights, often better than the last ones."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sonorant.train.sharding import whole


class Average:
    """The exponential moving average of a module's trained parameters, in float32.

    The decay grows as (1 + step) / (10 + step) up to its own value, so that the random weights of the
    beginning are soon forgotten (the rule of TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of the weights' average is {decay}; it belongs between 0 and 1")
        self.decay = decay
        self.weights = {name: each.detach().float().clone() for name, each in _trained(module).items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Takes in the weights after update number `step`, from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        parameters = _trained(module)
        means = [self.weights[name] for name in parameters]
        torch._foreach_lerp_(means, [each.float() for each in parameters.values()], 1 - decay)

    def assign(self, module: nn.Module) -> None:
        """Gives the module the averaged weights for good."""
        _assign(module, self.weights)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """The module with the averaged weights in place of its own, for evaluation."""
        own = {name: each.detach().clone() for name, each in _trained(module).items()}
        _assign(module, self.weights)
        try:
            yield
        finally:
            _assign(module, own)


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: each for name, each in module.named_parameters() if each.requires_grad}


@torch.no_grad()
def _assign(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    for name, parameter in _trained(module).items():
        parameter.copy_(whole(weights[name]))
