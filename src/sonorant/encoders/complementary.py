"""Synthetic audio beside real speech: its share of the loss, and how far it may change the encoder.

Du et al., "Complementary joint training approach using unpaired speech and text for low-resource automatic
speech recognition", Interspeech 2022, https://arxiv.org/abs/2204.02023; the parallel layers are of its
continuation in IEEE/ACM Transactions on Audio, Speech, and Language Processing 31, 2023, pages 3908 to 3921.
`recipes/cjt.py` has the equations.

Synthetic audio sounds otherwise than speech, and what sounds are like is what an encoder learns in its
shallow layers. So for a batch of it back-propagation may end above the first `layers` layers, with
probability `block`; or, with `parallel`, the batch goes through copies of these layers, which inference does
not have. The shallow part is the front end, the projection and whatever else comes before those layers, too.
The learned embedding of masked frames, which comes in below them, is left to real speech in both cases.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, TypeVar, get_args

import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.func import functional_call

from sonorant.config import Config
from sonorant.encoders.base import Encoder
from sonorant.types import Batch, Kind, Loss

KINDS: tuple[Kind, ...] = get_args(Kind)
DEEP = 4  # layers, of contexts that have twice as many
Result = TypeVar("Result")


class ComplementaryConfig(Config, frozen=True, kw_only=True):
    weight: Annotated[float, Meta(gt=0)] = 1.0  # lambda: of synthetic audio's loss
    layers: Annotated[int, Meta(ge=1)] | None = None  # the shallow ones; null: 4, or half of fewer than 8
    block: Annotated[float, Meta(ge=0, le=1)] = 0.0  # the probability that they learn nothing from a batch
    parallel: bool = False  # synthetic audio has shallow layers of its own, which learn always


class Complementary(nn.Module):
    """What training on several kinds of data keeps. ValueError: the context has fewer layers.

    Metrics: `loss_paired`, `loss_speech` and `loss_text` are the means over the targets of the last step
    before this one that had such batches, without lambda: each row of a log has all of them.
    """

    sums: Tensor
    last: Tensor

    def __init__(self, config: ComplementaryConfig, encoder: Encoder) -> None:
        super().__init__()
        self.config = config
        depth = encoder.context.depth
        layers = config.layers or max(1, min(DEEP, depth // 2))
        if layers > depth:
            raise ValueError(f"objective.complementary.layers: {layers}, but the context has {depth}")
        parameters = dict(encoder.named_parameters())
        self.names = [name for name in parameters if encoder.level(name) <= layers]
        self.copies = nn.ParameterList(
            parameters[name].detach().clone() for name in (self.names if config.parallel else ())
        )
        self.register_buffer("sums", torch.zeros(len(KINDS), 2))  # loss and targets of a step
        self.register_buffer("last", torch.full((len(KINDS),), -1.0))  # -1: none yet

    def shallow(self, encoder: Encoder, batch: Batch) -> Mapping[str, Tensor] | None:
        """The encoder's parameters that this batch meets others in place of; None: it meets the encoder."""
        if batch.kind != "text":
            return None
        if self.config.parallel:
            return dict(zip(self.names, self.copies, strict=True))
        if batch.draw("block") >= self.config.block:
            return None
        return {name: encoder.get_parameter(name).detach() for name in self.names}

    def forward(self, loss: Loss, batch: Batch) -> Loss:
        """The loss of a batch as training has it: L_s, or lambda L_t."""
        if batch.kind is None or not self.training:
            return loss
        self.sums[KINDS.index(batch.kind)] += torch.stack([loss.total.detach(), loss.count.to(loss.total)])
        known = zip(KINDS, self.last, strict=True)
        metrics = {f"loss_{kind}": value.clone() for kind, value in known if value >= 0}
        weight = self.config.weight if batch.kind == "text" else 1.0
        return Loss(weight * loss.total, loss.count, {**loss.metrics, **metrics})

    def statistics(self) -> Sequence[Tensor]:
        return [self.sums]

    def after_step(self) -> None:
        total, count = self.sums.unbind(1)
        self.last.copy_(torch.where(count > 0, total / count.clamp(min=1), self.last))


class _With(nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, compute: Callable[[], Result]) -> Result:
        return compute()


def with_parameters(
    encoder: Encoder, parameters: Mapping[str, Tensor], compute: Callable[[], Result]
) -> Result:
    """What is computed while the encoder has these parameters in place of its own."""
    named = {f"encoder.{name}": value for name, value in parameters.items()}
    found: Result = functional_call(_With(encoder), named, (compute,))
    return found
