"""Features of utterances, layer by layer, from a trained encoder, an untrained one, or log-mel alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sonorant.config import ConfigError
from sonorant.data.dataset import DataConfig, Dataset
from sonorant.data.manifest import Clip
from sonorant.encoders.base import Encoder, Frontend
from sonorant.encoders.log_mel import LogMel, LogMelConfig
from sonorant.evaluate.store import FeatureWriter
from sonorant.train import distributed
from sonorant.train.loop import autocast_type
from sonorant.types import Padded

FRONTEND = "frontend"
WINDOW = 0.025  # seconds that a frame of either front end sees, before stacking
Progress = Callable[[int, int], None]


def extract(
    encoder: Encoder | LogMel,
    clips: Sequence[Clip],
    out: Path,
    *,
    provenance: Mapping[str, Any],
    layers: Sequence[str] | None = None,
    batch_seconds: float = 60.0,
    progress: Progress | None = None,
) -> int:
    """Writes the features of clips and gives the number of utterances.

    Layers are `frontend`, then `layer_0` and on; `layers` chooses among them. ConfigError: one is not there,
    or every clip is too short.
    """
    frontend = encoder if isinstance(encoder, LogMel) else encoder.frontend
    clips = [clip for clip in clips if frontend.frames(round(clip.seconds * frontend.rate)) > 0]
    if not clips:
        raise ConfigError(f"{out}: no clip is long enough for one frame (give longer ones)")
    frame_seconds = frontend.stride / frontend.rate
    # The middle of the first frame: half a window, and half of what stacking adds.
    first = WINDOW / 2 + (frame_seconds - _hop(frontend)) / 2
    with FeatureWriter(out, frame_seconds=frame_seconds, first_centre=first, provenance=provenance) as writer:
        for number, (name, values) in enumerate(_features(encoder, clips, batch_seconds), start=1):
            writer.add(name, _chosen(values, layers))
            if progress is not None:
                progress(number, len(clips))
    return len(clips)


def _chosen(values: dict[str, Tensor], layers: Sequence[str] | None) -> dict[str, Tensor]:
    if unknown := [layer for layer in layers or () if layer not in values]:
        raise ConfigError(f"layer: {unknown[0]!r} is not one of {', '.join(values)}")
    return {layer: frames for layer, frames in values.items() if layers is None or layer in layers}


def _hop(frontend: Frontend) -> float:
    """Seconds from one window to the next before stacking."""
    stacked = frontend.config.stack if isinstance(frontend, LogMel) else 1
    return frontend.stride / frontend.rate / stacked


def _features(
    encoder: Encoder | LogMel, clips: Sequence[Clip], batch_seconds: float
) -> Iterator[tuple[str, dict[str, Float[Tensor, "time dim"]]]]:
    frontend = encoder if isinstance(encoder, LogMel) else encoder.frontend
    device = distributed.device()
    encoder.to(device).eval()
    config = DataConfig(manifest="", rate=frontend.rate, min_seconds=0, cache_hours=0)
    dtype = autocast_type("auto", device)
    for batch in Dataset(clips, config).in_order(batch_seconds):
        with (
            torch.inference_mode(),
            torch.autocast(device.type, dtype, enabled=dtype != torch.float32),
        ):
            layers = _layers(encoder, batch.inputs.to(device))
        for row, name in enumerate(batch.ids):
            yield (
                name,
                {
                    layer: frames.values[row, : int(frames.lengths[row])].float()
                    for layer, frames in layers.items()
                },
            )


def _layers(encoder: Encoder | LogMel, inputs: Padded) -> dict[str, Padded]:
    if isinstance(encoder, LogMel):
        return {FRONTEND: encoder(inputs)}
    frames = encoder.frontend(inputs)
    hidden = encoder.context(encoder.project(frames))
    layers = {
        f"layer_{number}": Padded(values, hidden.lengths) for number, values in enumerate(hidden.layers)
    }
    return {FRONTEND: frames, **layers}


def log_mel(rate: int = 16000) -> LogMel:
    """The baseline: 80 log-mel energies every 10 ms, standardised over the utterance."""
    return LogMel(LogMelConfig(rate=rate))


def first_minutes(clips: Sequence[Clip], minutes: float) -> list[Clip]:
    """Clips in their order until so many minutes are full."""
    chosen, seconds = [], 0.0
    for clip in clips:
        if seconds >= minutes * 60:
            break
        chosen.append(clip)
        seconds += clip.seconds
    return chosen
