"""Features of utterances, layer by layer, from an encoder, a published model, or log-mel alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sonorant.config import ConfigError
from sonorant.data.dataset import DataConfig, Dataset
from sonorant.data.manifest import Clip, seconds, where
from sonorant.encoders.base import Upstream
from sonorant.encoders.log_mel import LogMel, LogMelConfig
from sonorant.encoders.mfcc import MFCC
from sonorant.encoders.spectral_shape import SpectralShape
from sonorant.evaluate.store import FeatureWriter
from sonorant.recipes.long import BEFORE, LONG, Encode, Section, long_features, own, sections_of
from sonorant.recipes.precision import prepared
from sonorant.train import distributed
from sonorant.types import Padded, pad

TARGETS = "targets"  # the folder in a store that is made for the label-free score
SECTION = 0.5  # seconds, where features are made for the label-free score
Progress = Callable[[int, int], None]
Utterances = Sequence[Float[Tensor, "time dim"]]


def extract(
    upstream: Upstream,
    clips: Sequence[Clip],
    out: Path,
    *,
    provenance: Mapping[str, Any],
    layers: Sequence[str] | None = None,
    sections: float | None = None,
    batch_seconds: float = 60.0,
    precision: str = "auto",
    progress: Progress | None = None,
) -> int:
    """Writes the features of clips and gives the number of utterances.

    Layers are `frontend`, then `layer_0` and on; `layers` chooses among them. `sections` cuts utterances into
    equal parts of about so many seconds, each encoded with the 2 s before it and nothing behind it, so that
    no frame sees beyond its own: what the label-free score needs of a network that sees the future. Clips of
    more than a minute are encoded without sections too in stretches of a minute, of which 5 s at either side
    only give context: no frame sees further than its stretch, nor does a normalisation over the utterance.
    Stretches are shorter where a network takes less at once. ConfigError: a layer is not there, every clip is
    too short, or a section is, or too long for the network; the precision cannot be had.
    """
    frontend = upstream.front()
    clips = where(clips, np.rint(seconds(clips) * frontend.rate) >= frontend.window)
    if not clips:
        raise ConfigError(f"{out}: no clip is long enough for one frame (give longer ones)")
    frame_seconds = frontend.stride / frontend.rate
    section = None if sections is None else round(sections / frame_seconds)
    if section is not None and section < 1:
        raise ConfigError(f"sections: {sections} s are shorter than a frame of {frame_seconds} s")
    longest = upstream.longest - BEFORE
    if section is not None and 1.5 * section * frame_seconds > longest:  # they are only about equal
        raise ConfigError(
            f"sections: {sections} s are too long for a network of {upstream.longest:g} s, "
            f"which hears {BEFORE:g} s before them too"
        )
    with FeatureWriter(
        out,
        frame_seconds=frame_seconds,
        first_centre=frontend.window / 2 / frontend.rate,  # the middle of the first frame
        provenance=provenance,
        sees_future=section is None and upstream.sees_future,
        section=section,
    ) as writer:
        features = _features(
            upstream, clips, section, layers=layers, batch_seconds=batch_seconds, precision=precision
        )
        for number, (name, values) in enumerate(features, start=1):
            writer.add(name, values)
            if progress is not None:
                progress(number, len(clips))
    return len(clips)


def extract_to_score(
    upstream: Upstream,
    clips: Sequence[Clip],
    out: Path,
    *,
    provenance: Mapping[str, Any],
    layers: Sequence[str] | None = None,
    precision: str = "auto",
    progress: Progress | None = None,
) -> int:
    """Writes what the label-free score takes: layers in sections, and in `out/targets` the spectral shapes of
    whole clips, whose clusters are predicted: one space for all layers, which none makes easier."""
    written = extract(
        upstream,
        clips,
        out,
        provenance=provenance,
        layers=layers,
        sections=SECTION,
        precision=precision,
        progress=progress,
    )
    extract(spectral_shape(upstream), clips, out / TARGETS, provenance=provenance)
    return written


def _chosen(values: dict[str, Padded], layers: Sequence[str] | None) -> dict[str, Padded]:
    if unknown := [layer for layer in layers or () if layer not in values]:
        raise ConfigError(f"layer: {unknown[0]!r} is not one of {', '.join(values)}")
    return {layer: frames for layer, frames in values.items() if layers is None or layer in layers}


def _features(
    upstream: Upstream,
    clips: Sequence[Clip],
    section: int | None,
    *,
    layers: Sequence[str] | None,
    batch_seconds: float,
    precision: str,
) -> Iterator[tuple[str, dict[str, Float[Tensor, "time dim"]]]]:
    device = distributed.device()
    model, computing = prepared(upstream, precision, device)
    frontend, at_once = model.front(), min(LONG, model.longest)

    def encode(waves: Sequence[Float[Tensor, " samples"]]) -> dict[str, Padded]:
        with computing():
            return _chosen(model.features(pad(waves).to(device)), layers)

    config = DataConfig(manifest="", rate=frontend.rate, min_seconds=0, cache_hours=0)
    times = 1 if section is None else 1 + BEFORE * frontend.rate / (section * frontend.stride)
    batch_seconds /= times  # that most audio is encoded, and no more of it at once
    long = times * seconds(clips) > at_once
    short = where(clips, ~long)
    for batch in Dataset(short, config).in_order(batch_seconds) if short else ():
        waves = _waves(batch.inputs)
        sections = None if section is None else [sections_of(len(wave), frontend, section) for wave in waves]
        found = _whole(encode(waves)) if sections is None else _in_sections(encode, waves, sections)
        for row, name in enumerate(batch.ids):
            yield name, {layer: frames[row].float() for layer, frames in found.items()}
    for clip in where(clips, long):
        yield clip.id, long_features(encode, clip, frontend, section, at_once)


def _waves(inputs: Padded) -> list[Float[Tensor, " samples"]]:
    return [wave[:length] for wave, length in zip(inputs.values, inputs.lengths.tolist(), strict=True)]


def _whole(layers: Mapping[str, Padded]) -> dict[str, Utterances]:
    return {
        layer: frames.values[frames.mask].split(frames.lengths.tolist()) for layer, frames in layers.items()
    }


def _in_sections(
    encode: Encode, waves: Sequence[Float[Tensor, " samples"]], sections: Sequence[Sequence[Section]]
) -> dict[str, Utterances]:
    together = list(chain(*sections))
    owners = chain(*([wave] * len(some) for wave, some in zip(waves, sections, strict=True)))
    pieces = [wave[each.start : each.end] for wave, each in zip(owners, together, strict=True)]
    lengths = [sum(each.frames for each in some) for some in sections]
    return {layer: own(frames, together).split(lengths) for layer, frames in encode(pieces).items()}


def log_mel(rate: int = 16000) -> LogMel:
    """The baseline: 80 log-mel energies every 10 ms, standardised over the utterance."""
    return LogMel(LogMelConfig(rate=rate))


def mfcc(rate: int = 16000) -> MFCC:
    """The older baseline, and what HuBERT's first labels are clusters of: 39 dimensions every 10 ms."""
    return MFCC(rate)


def spectral_shape(upstream: Upstream) -> SpectralShape:
    """Of the log-mel energies that an upstream reads; where it reads others, of 80 bands every 40 ms."""
    front = upstream.front()
    if not isinstance(front, LogMel):
        front = LogMel(LogMelConfig(rate=front.rate, stack=4))
    return SpectralShape(front)


def first_minutes(clips: Sequence[Clip], minutes: float) -> list[Clip]:
    """Clips in their order until so many minutes are full."""
    chosen, seconds = [], 0.0
    for clip in clips:
        if seconds >= minutes * 60:
            break
        chosen.append(clip)
        seconds += clip.seconds
    return chosen
