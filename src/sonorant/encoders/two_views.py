"""What methods with two views of an utterance share: the views, and one embedding for each.

The papers' images became speech as follows. Cropping and resizing an image became a stretch of up to some
seconds, not necessarily apart from the other view's; colour, blur and grey became gain, speed, noise, rooms,
dropped bands and SpecAugment's masks; a network's average over the picture became one over an utterance's
real frames. COLA (Saeed, Grangier and Zeghidour 2021, https://arxiv.org/abs/2010.10915) takes two stretches
of a recording, too; sslsv (https://github.com/theolepage/sslsv), with noise and rooms, holds these methods
against each other on VoxCeleb; BYOL-A (Niizumi et al. 2021, https://arxiv.org/abs/2103.06695) takes one
stretch twice, as `crop_share: 1` does with utterances no longer than `crop_seconds`.
What such views agree on is the voice and the channel more than the words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from sonorant.encoders.base import Encoder, Frontend
from sonorant.encoders.log_mel import LogMel
from sonorant.nn.sounds import MADE, Sounds
from sonorant.nn.spec_augment import spec_augment_mask
from sonorant.nn.views import ViewConfig, view
from sonorant.types import Batch, Loss, Padded, pad


@dataclass(frozen=True)
class View:
    """One view of each utterance of a batch: waveforms, and what of their frames is hidden."""

    waves: Padded
    hidden: Bool[Tensor, "batch time dim"]


def two_views(
    batch: Batch, config: ViewConfig, frontend: Frontend, sounds: Sounds = MADE
) -> tuple[View, View]:
    """Two views of each utterance, drawn from its own generator; `sounds` are what the settings name."""
    generators = batch.generators()
    first = _view(batch, config, frontend, generators, sounds)
    return first, _view(batch, config, frontend, generators, sounds)


def embed(encoder: Encoder, seen: View) -> Float[Tensor, "batch dim"]:
    """h of the papers: the mean of the last layer over an utterance's real frames. What is hidden is zero,
    the mean of a normalised frame."""
    frames = encoder.frontend(seen.waves)
    masked = Padded(frames.values.masked_fill(seen.hidden, 0), frames.lengths)
    context: Padded = encoder.context(encoder.project(masked)).last
    sums = context.zeroed().values.float().sum(1)
    return sums / context.lengths[:, None]


def perceptron(widths: Sequence[int], *, norm: bool, last_norm: bool = False) -> nn.Sequential:
    """Linear layers from each width to the next with ReLU between them, the projectors and predictors of the
    papers; `norm` puts batch normalisation before each ReLU, `last_norm` one without gains at the end.

    Statistics are those of this process's batch, so that an utterance's embedding depends on its neighbours.
    """
    layers: list[nn.Module] = []
    *inner, last = range(len(widths) - 1)
    for place in inner:
        layers.append(nn.Linear(widths[place], widths[place + 1], bias=not norm))
        if norm:
            layers.append(nn.BatchNorm1d(widths[place + 1]))
        layers.append(nn.ReLU())
    layers.append(nn.Linear(widths[last], widths[last + 1], bias=not last_norm))
    if last_norm:
        layers.append(nn.BatchNorm1d(widths[last + 1], affine=False))
    return nn.Sequential(*layers)


def nothing_to_learn(batch: Batch) -> Loss | None:
    """A loss without targets for a batch of fewer than two utterances, which has neither negatives nor
    statistics; None for all others."""
    if len(batch.seeds) > 1:
        return None
    zero = batch.inputs.values.new_zeros(())
    return Loss(zero, zero.long(), {})


def _view(
    batch: Batch,
    config: ViewConfig,
    frontend: Frontend,
    generators: Sequence[Generator],
    sounds: Sounds,
) -> View:
    inputs = batch.inputs
    waves = [
        view(wave[:length], config, rate=frontend.rate, generator=generator, sounds=sounds)
        for wave, length, generator in zip(inputs.values, inputs.lengths.tolist(), generators, strict=True)
    ]
    # stacked frames hold each band several times, and the same ones are hidden in all
    bands = frontend.config.mels if isinstance(frontend, LogMel) else frontend.dim
    hidden = spec_augment_mask(
        [frontend.frames(len(wave)) for wave in waves],
        generators,
        bands=bands,
        time_masks=config.time_masks,
        time_share=config.time_share,
        band_masks=config.band_masks,
        band_share=config.band_share,
    )
    device = inputs.values.device
    return View(pad(waves).to(device), hidden.repeat(1, 1, frontend.dim // bands).to(device))
