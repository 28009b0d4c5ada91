"""Where the time of a training step goes: every operation timed, with what it computes and moves.

An operation cannot be faster than its arithmetic at the machine's rate of matrix products, nor than its
inputs and outputs take through memory: the larger of both is its floor. What a step takes beyond its
operations is Python, and whatever else runs on the machine.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.module_tracker import ModuleTracker

UPDATE = "update"  # what is done outside of any module: norms, clipping, the optimizer

# Kinds of operations by what their names contain; the first that fits.
KINDS = {
    "attention": ("scaled_dot_product",),
    "convolutions": ("convolution",),
    "recurrences": ("rnn", "lstm", "gru"),
    "matrix products": ("mm", "addmv", "dot"),
    "random numbers": ("random", "bernoulli", "exponential", "uniform", "normal_", "randint", "dropout"),
    "normalisation": ("layer_norm", "group_norm", "batch_norm"),
    "copies and casts": ("copy", "clone", "cat", "constant_pad", "index", "gather", "empty", "fill", "zero"),
    "optimizer": ("adam", "foreach", "vector_norm"),
}
REST = "element by element"


@dataclass
class Machine:
    """What this machine can do now, with the threads that are set."""

    operations: float  # a second, of a large matrix product
    bytes: float  # a second, through memory
    threads: int
    type: torch.dtype


@dataclass
class Cost:
    """What a group of operations took, and what it had to do."""

    seconds: float = 0.0
    operations: float = 0.0
    bytes: float = 0.0
    floor: float = 0.0  # seconds
    calls: float = 0

    def add(self, other: "Cost") -> None:
        self.seconds += other.seconds
        self.operations += other.operations
        self.bytes += other.bytes
        self.floor += other.floor
        self.calls += other.calls


def rates(dtype: torch.dtype, *, size: int = 1536, seconds: float = 0.5) -> Machine:
    """Measures the machine: a square matrix product of `dtype`, and a copy that no cache holds."""
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    source = torch.ones(2**25)
    target = torch.empty_like(source)
    return Machine(
        operations=2 * size**3 / _quickest(lambda: left @ right, seconds),
        bytes=2 * source.nbytes / _quickest(lambda: target.copy_(source), seconds),
        threads=torch.get_num_threads(),
        type=dtype,
    )


def _quickest(work: Callable[[], object], seconds: float) -> float:
    """The median of the faster half of runs: others may use the machine too."""
    work()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(sorted(times)[: max(1, len(times) // 2)])


class Meter(TorchDispatchMode):
    """Measures the operations within, forward and backward, by module and by kind.

    It slows small operations down, so that a step has to be timed without it too. What dropout does is put
    down to the module around it: where it passes its input on, it cannot be told apart in the backward pass.
    """

    def __init__(self, machine: Machine, root: nn.Module) -> None:
        super().__init__()
        self.machine = machine
        self._passing = {
            f"{type(root).__name__}.{name}"
            for name, module in root.named_modules()
            if isinstance(module, nn.Dropout | nn.Identity)
        }
        self.modules: dict[str, Cost] = defaultdict(Cost)
        self.kinds: dict[str, Cost] = defaultdict(Cost)
        self._tracker = ModuleTracker()

    def __enter__(self) -> Self:
        self._tracker.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._tracker.__exit__(*error)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        began = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        seconds = time.perf_counter() - began
        cost = Cost(seconds, _operations(func, args, kwargs or {}, result), _moved(args, result), calls=1)
        rate = self.machine
        cost.floor = max(cost.operations / rate.operations, cost.bytes / rate.bytes)
        self.modules[_module(self._tracker.parents - self._passing)].add(cost)
        self.kinds[_kind(func.__name__)].add(cost)
        return result


def _operations(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> float:
    """Multiplications and additions, where there are many of them."""
    name = func.__name__
    if "scaled_dot_product" in name:  # PyTorch knows the GPU's kernels only
        backward = "backward" in name
        query, key = args[1:3] if backward else args[:2]
        products = 5 if backward else 2
        return float(2 * products * query.numel() * key.shape[-2])
    if "mkldnn_rnn_layer" in name:
        inputs, weights = args[0], [each for each in args[1:5] if isinstance(each, Tensor) and each.dim() > 1]
        size = sum(each.numel() for each in weights)
        return float(2 * size * inputs.shape[0] * inputs.shape[1] * (2 if "backward" in name else 1))
    counter = flop_registry.get(func.overloadpacket)
    return 0.0 if counter is None else float(counter(*args, **kwargs, out_val=result))


def _moved(args: Sequence[Any], result: Any) -> float:
    """Bytes read and written; views move none."""
    read = [each for each in tree_leaves(args) if isinstance(each, Tensor)]
    places = {each.untyped_storage().data_ptr() for each in read}
    written = [each for each in tree_leaves(result) if isinstance(each, Tensor)]
    if written and all(each.untyped_storage().data_ptr() in places for each in written):
        in_place = any(each is other for each in written for other in read)
        return float(2 * sum(each.nbytes for each in written)) if in_place else 0.0
    return float(sum(each.nbytes for each in [*read, *written]))


def _module(parents: set[str]) -> str:
    """The innermost module at work, without the objective's name and the numbers of layers."""
    inner = max(parents - {"Global"}, key=lambda name: name.count("."), default="")
    if not inner:
        return UPDATE
    parts = ["*" if part.isdigit() else part for part in inner.split(".")[1:]]
    return ".".join(parts) or "objective"


def _kind(name: str) -> str:
    for kind, fragments in KINDS.items():
        if any(fragment in name for fragment in fragments):
            return kind
    return REST
