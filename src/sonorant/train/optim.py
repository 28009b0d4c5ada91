"""AdamW with the settings that speech models are trained with, and its state under the parameters' names."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sonorant.config import Config
from sonorant.objective import Objective
from sonorant.train.sharding import like


class OptimizerConfig(Config, frozen=True, kw_only=True):
    """AdamW (Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101). The learning rate is the
    schedule's.

    With `layer_decay` d, layer i of an encoder of L layers learns at d^(L - i) times it, and what lies below
    the first one at d^L: what is pretrained and general is changed least (Clark et al., "ELECTRA", ICLR 2020,
    https://arxiv.org/abs/2003.10555, appendix B). Whatever is not the encoder's learns at the full rate.
    """

    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.01
    layer_decay: float | None = None  # null: all layers learn alike
    clip: float | None = 5.0  # the largest norm of the gradient of the mean loss; null leaves it as it is

    def __post_init__(self) -> None:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}; both belong between 0 and 1")
        if not (self.eps > 0 and self.weight_decay >= 0):
            raise ValueError(
                f"eps is {self.eps}, weight_decay {self.weight_decay}; eps is above 0, the other not below"
            )
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay is {self.layer_decay}; give a factor above 0 and up to 1, or null")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip is {self.clip}; give a norm above 0, or null for none")


def adamw(module: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over the parameters that are trained; biases, norms and gains are not decayed.

    Each group's `scale` is what its learning rate is multiplied with.
    """
    groups: dict[tuple[float, bool], list[Tensor]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            key = _scale(module, name, config.layer_decay), _decays(parameter)
            groups.setdefault(key, []).append(parameter)
    ordered = [
        {"params": found, "scale": scale, "weight_decay": config.weight_decay if decays else 0.0}
        for (scale, decays), found in sorted(groups.items(), key=lambda item: item[0], reverse=True)
    ]
    return torch.optim.AdamW(ordered, lr=0.0, betas=config.betas, eps=config.eps, fused=True)


def _scale(module: nn.Module, name: str, layer_decay: float | None) -> float:
    """The learning rate of a parameter of this name, over the schedule's."""
    part, _, rest = name.partition(".")
    if layer_decay is None or not isinstance(module, Objective) or part != "encoder":
        return 1.0
    return float(layer_decay ** (module.encoder.context.depth - module.encoder.level(rest)))


def _decays(parameter: Tensor) -> bool:
    # The gain of a weight-normalised convolution has three axes of which two are of size one.
    return sum(size > 1 for size in parameter.shape) > 1


def named_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as `exp_avg/encoder.projection.weight`: tensor."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return {
        f"{kind}/{names[id(parameter)]}": value
        for parameter, values in optimizer.state.items()
        for kind, value in values.items()
    }


def restore_state(
    module: nn.Module, optimizer: torch.optim.Optimizer, state: Iterable[tuple[str, Tensor]]
) -> None:
    """Gives the optimizer the items that `named_state` told; a parameter without any had no update yet.

    ValueError: a name is unknown, or a shape is not its parameter's.
    """
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    places = {names[id(parameter)]: place for place, parameter in enumerate(parameters)}
    restored: dict[int, dict[str, Tensor]] = {}
    for key, value in state:
        kind, _, name = key.partition("/")
        if name not in places:
            raise ValueError(f"unexpected {key}: no parameter of that name is trained")
        parameter = parameters[places[name]]
        if value.dim() and value.shape != parameter.shape:
            raise ValueError(
                f"mismatched {key}: {tuple(value.shape)}, the parameter is {tuple(parameter.shape)}"
            )
        # the count of updates is one number for all slices
        mine = like(value, parameter) if value.dim() else value
        restored.setdefault(places[name], {})[kind] = mine.clone()
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": restored, "param_groups": groups})
