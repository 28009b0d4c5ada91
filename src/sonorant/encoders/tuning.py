"""What recognisers share while they are trained: which parts of the encoder wait, and what is hidden from it.

The recipe is that of Baevski, Zhou, Mohamed and Auli, "wav2vec 2.0", NeurIPS 2020, section 4.3 and appendix
B, https://arxiv.org/abs/2006.11477: the front end stays as it was pre-trained, the context network waits
until the new head has found its feet, and spans of frames and of channels are masked. Masked frames become a
learned embedding, as in pre-training; masked channels are zero throughout the utterance.

With `freeze_context: always` the encoder stays what it is: it computes as in evaluation, nothing is masked,
and only what reads it is trained. Then a weighted sum of all layers (`layer: weighted`; Yang et al.,
"SUPERB", https://arxiv.org/abs/2105.01051) tells more than the last one, which is made for the pretext task.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from msgspec import Meta
from torch import Tensor, nn

from sonorant.config import Config
from sonorant.encoders.base import Encoder
from sonorant.encoders.complementary import Complementary, ComplementaryConfig, with_parameters
from sonorant.nn.heads import WeightedLayers
from sonorant.nn.masking import span_mask
from sonorant.types import Batch, Hidden, Padded

Share = Annotated[float, Meta(ge=0, le=1)]


class TuningConfig(Config, frozen=True, kw_only=True):
    """The default masks are wav2vec 2.0's for ten hours of transcribed speech, at 50 frames a second."""

    labels: Annotated[int, Meta(ge=2)]  # the vocabulary's size, the blank (label 0) included
    layer: Annotated[int, Meta(ge=0)] | Literal["weighted"] | None = None  # that is read, from 0; None: last
    freeze_frontend: bool = True
    freeze_context: Annotated[int, Meta(ge=0)] | Literal["always"] = 0  # updates in which it is not trained
    time_mask_probability: Share = 0.65  # spans times their length, over the frames; spans may overlap
    time_mask_length: Annotated[int, Meta(ge=1)] = 10  # frames
    channel_mask_probability: Share = 0.5  # likewise, over the channels
    channel_mask_length: Annotated[int, Meta(ge=1)] = 64  # channels
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.1  # before the head
    complementary: ComplementaryConfig | None = None  # in training on several kinds of data

    def __post_init__(self) -> None:
        if self.freeze_context == "always" and not self.freeze_frontend:
            raise ValueError("freeze_context: always keeps the front end as it is, too (no freeze_frontend)")


def tuned(
    encoder: Encoder,
    config: TuningConfig,
    inputs: Padded,
    *,
    updates: Tensor,
    embedding: Float[Tensor, " dim"],
    masked_by: Batch | None,
    complementary: Complementary | None = None,
) -> Hidden:
    """What the encoder makes of waveforms, `updates` updates after the start of training.

    Frozen parts compute without gradients, so their gradients stay None and no optimizer moves or decays
    them. `masked_by`: the batch whose generators draw the masks, and that may meet other shallow layers;
    None: nothing is masked, and the layers are the encoder's own.
    """
    if config.freeze_context == "always":
        with torch.no_grad(), _evaluated(encoder):
            kept: Hidden = encoder(inputs)
        return kept
    if complementary is not None and masked_by is not None:
        shallow = complementary.shallow(encoder, masked_by)
        if shallow is not None:
            again = partial(
                tuned,
                encoder,
                config,
                inputs,
                updates=updates,
                embedding=embedding.detach(),
                masked_by=masked_by,
            )
            return with_parameters(encoder, shallow, again)
    with _gradients(on=not config.freeze_frontend):
        frames = encoder.frontend(inputs)
    with _gradients(on=torch.is_grad_enabled() and int(updates) >= config.freeze_context):
        projected = encoder.project(frames)
        if masked_by is not None:
            projected = masked(projected, config, masked_by, embedding)
        hidden: Hidden = encoder.context(projected)
    return hidden


def weighted_layers(encoder: Encoder, config: TuningConfig) -> WeightedLayers | None:
    """The weights of the layers that are read, if they are all."""
    return WeightedLayers(encoder.context.depth) if config.layer == "weighted" else None


def read(hidden: Hidden, config: TuningConfig, weighted: WeightedLayers | None) -> Padded:
    """The frames that a recogniser reads: a layer's, or the weighted sum of all."""
    if weighted is None:
        assert config.layer != "weighted"
        return layer_of(hidden, config.layer)
    return Padded(weighted(torch.stack(hidden.layers)), hidden.lengths)


def layer_of(hidden: Hidden, layer: int | None, *, key: str = "layer") -> Padded:
    """A layer's frames. ValueError names the setting: there is no such layer."""
    if layer is None:
        return hidden.last
    if layer >= len(hidden.layers):
        last = len(hidden.layers) - 1
        raise ValueError(f"objective.{key}: {layer} is not a layer of the context, 0 to {last}")
    return Padded(hidden.layers[layer], hidden.lengths)


def masked(frames: Padded, config: TuningConfig, batch: Batch, embedding: Float[Tensor, " dim"]) -> Padded:
    """Frames with spans of them, and of their channels, hidden."""
    device = frames.values.device
    count, time, dim = frames.values.shape
    generators = batch.generators()
    times: Bool[Tensor, "batch time"] = span_mask(
        frames.lengths.cpu(),
        generators,
        probability=config.time_mask_probability,
        length=config.time_mask_length,
        minimum=0,
        time=time,
    ).to(device)
    channels: Bool[Tensor, "batch dim"] = span_mask(
        torch.full((count,), dim),
        generators,
        probability=config.channel_mask_probability,
        length=config.channel_mask_length,
        minimum=0,
    ).to(device)
    values = torch.where(times[:, :, None], embedding.to(frames.values.dtype), frames.values)
    return Padded(values.masked_fill(channels[:, None], 0), frames.lengths)


def checked_labels(batch: Batch, size: int) -> Padded:
    """A batch's labels. ValueError: it has none, or one that is not in the vocabulary."""
    labels = batch.labels
    if labels is None:
        raise ValueError("a recogniser needs transcripts, but the batch has no labels: give the clips a text")
    real = labels.values[labels.mask]
    wrong = real[(real < 1) | (real >= size)]
    if len(wrong):
        raise ValueError(
            f"label {int(wrong[0])} is not between 1 and {size - 1} (0 is the blank): "
            f"objective.labels has to be the vocabulary's size"
        )
    return labels


@contextlib.contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    """Computing as in evaluation, without dropout."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def complementary_of(config: TuningConfig, encoder: Encoder) -> Complementary | None:
    return None if config.complementary is None else Complementary(config.complementary, encoder)


def hidden_labels(batch: Batch, labels: Padded) -> Bool[Tensor, "batch labels"] | None:
    """Where labels have no weight; None: nowhere."""
    if batch.weights is None:
        return None
    hidden = (batch.weights == 0) & labels.mask
    return hidden if bool(hidden.any()) else None


def _gradients(*, on: bool) -> contextlib.AbstractContextManager[object]:
    return contextlib.nullcontext() if on else torch.no_grad()
