"""One network in slices over all ranks, for networks that do not fit into one of them: PyTorch's FSDP2.

Zhao et al. 2023, "PyTorch FSDP", https://arxiv.org/abs/2304.11277. A rank keeps its slice of every parameter,
gradient, moment and average; a block of the encoder is whole only while it computes. Gradients are summed as
everywhere here, but after each batch, since whole ones are what does not fit. A parameter that no rank used
has a gradient of zero here, where the whole network leaves it alone.
"""

import copy

import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from sonorant.config import ConfigError
from sonorant.objective import Objective
from sonorant.train import distributed


def shard(objective: Objective) -> Objective:
    """A copy of an objective in slices, on this rank's device. ConfigError: that cannot be done here."""
    blocks = objective.encoder.context.blocks()
    if not blocks:
        raise ConfigError(
            "train.shard: encoder.context has no blocks that every step calls (choose a Conformer, or a "
            "Transformer without layerdrop; or train.shard=false)"
        )
    if distributed.world() == 1:
        raise ConfigError("train.shard: one process alone (train.processes=2, or start it with torchrun)")
    if not hasattr(FSDPModule, "set_reduce_scatter_unused_params"):
        raise ConfigError(f"train.shard: PyTorch {torch.__version__} is too old (2.13 will do)")
    sliced = copy.deepcopy(objective)
    mesh = init_device_mesh(distributed.device().type, (distributed.world(),))
    for module in (*sliced.encoder.context.blocks(), sliced):
        fully_shard(module, mesh=mesh)
        assert isinstance(module, FSDPModule)
        # sums over ranks, since the one division is by all targets; gloo can do no other
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)
        # ranks may differ in what a batch uses
        module.set_reduce_scatter_unused_params(True)
    return sliced


def sharded(objective: torch.nn.Module) -> bool:
    return isinstance(objective, FSDPModule)


def whole(tensor: Tensor) -> Tensor:
    """A tensor with all its slices, for which all ranks have to call; others as they are."""
    full: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full


def like(tensor: Tensor, slices: Tensor) -> Tensor:
    """A whole tensor, the same on all ranks, in slices as those of another one, if that is in slices."""
    if not isinstance(slices, DTensor):
        return tensor
    value = tensor.to(slices.device)
    return distribute_tensor(value, slices.device_mesh, slices.placements, src_data_rank=None)


@torch.no_grad()
def assemble(sliced: Objective, target: Objective) -> None:
    """Gives an objective that is whole the state of its sliced copy. All ranks have to call."""
    places = target.state_dict()
    for name, value in sliced.state_dict().items():
        places[name].copy_(whole(value))
