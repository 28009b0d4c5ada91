"""An upstream's frames of clips, computed once: kept by content, whoever asks for them.

    features/CONTENT/NNNNN     a feature store of about half an hour of audio, whole or not there

CONTENT stands for the model's settings and weights and the precision. What a store calls an utterance ends in
a hash of where its audio lies and of that file's size and time: manifests may change, the audio may not.
Whoever is interrupted loses half an hour of audio at most.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import torch
from jaxtyping import Float
from torch import Tensor

from sonorant.config import ConfigError
from sonorant.data.manifest import Clip
from sonorant.encoders.base import Upstream
from sonorant.evaluate.store import FeatureStore
from sonorant.recipes.features import extract
from sonorant.task import Times

CHUNK = 1800.0  # seconds of audio in a store
MEMORY = 2**29  # bytes of frames that stay in memory; the rest is read when it is needed


class Features:
    """The frames of clips, all layers as wide as the last one (the front end of our encoders seldom is)."""

    def __init__(self, stores: Sequence[FeatureStore], names: Mapping[str, str]) -> None:
        """Stores, and what they call each clip."""
        first = stores[0]
        self.dim = first.dims[first.layers[-1]]
        self.layers = tuple(layer for layer in first.layers if first.dims[layer] == self.dim)
        self.times = Times(first.frame_seconds, first.first_centre)
        self._names = names
        self._store = {name: store for store in stores for name in store.ids}
        self._kept: dict[str, Tensor] = {}
        self._room = MEMORY

    def length(self, clip: Clip) -> int:
        """The clip's number of frames."""
        name = self._names[clip.id]
        return self._store[name].lengths[name]

    def layer(self, layer: str, clips: Sequence[Clip]) -> list[Float[Tensor, "time dim"]]:
        """One layer's frames of the clips, in float32."""
        names = [self._names[clip.id] for clip in clips]
        return [self._store[name].read(layer, [name])[0] for name in names]

    def read(self, clips: Sequence[Clip]) -> list[Float[Tensor, "layers time dim"]]:
        """The clips' frames, in float32."""
        names = [self._names[clip.id] for clip in clips]
        missing = [name for name in dict.fromkeys(names) if name not in self._kept]
        found: dict[str, Tensor] = {}
        for store in {id(self._store[name]): self._store[name] for name in missing}.values():
            mine = [name for name in missing if self._store[name] is store]
            layers = [store.read(layer, mine) for layer in self.layers]
            for place, name in enumerate(mine):
                found[name] = torch.stack([frames[place] for frames in layers])
        for name, frames in found.items():
            if (size := frames.numel() * 2) <= self._room:
                self._kept[name] = frames.half()  # as the store has it: nothing is lost
                self._room -= size
        return [found[name] if name in found else self._kept[name].float() for name in names]


def features(
    model: Upstream,
    content: str,
    clips: Sequence[Clip],
    folder: Path,
    *,
    precision: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Features:
    """The model's frames of clips; what `folder` does not hold yet is computed.

    ConfigError: a clip is too short for a frame.
    """
    place = folder / f"{content}-{precision}"
    stores = [FeatureStore(path) for path in sorted(place.glob("[0-9]" * 5))]
    known = {name for store in stores for name in store.ids}
    names = {clip.id: key(clip) for clip in clips}
    missing = {names[clip.id]: clip for clip in clips if names[clip.id] not in known}
    done = 0
    for chunk in _chunks(list(missing.items())):
        path = place / f"{len(stores):05d}"
        renamed = [msgspec.structs.replace(clip, id=name) for name, clip in chunk]
        count = extract(
            model, renamed, path, provenance={"content": content, "precision": precision}, precision=precision
        )
        if count < len(renamed):
            kept = set(FeatureStore(path).ids)
            short = next(clip.id for name, clip in chunk if name not in kept)
            raise ConfigError(f"{short}: too short for one frame (leave it out of the manifest)")
        stores.append(FeatureStore(path))
        done += len(chunk)
        if progress is not None:
            progress(done, len(missing))
    wanted = set(names.values())
    return Features([store for store in stores if not wanted.isdisjoint(store.ids)], names)


def key(clip: Clip) -> str:
    """What a store calls the clip: its id, and a hash of where its audio lies and of that file."""
    file = Path(clip.path)
    try:
        status = file.stat()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror} (check the manifest's paths)") from error
    where = (clip.path, clip.offset, clip.size, clip.start, clip.samples, clip.rate)
    told = f"{where} {status.st_size} {status.st_mtime_ns}".encode()
    return f"{clip.id}@{hashlib.blake2b(told, digest_size=8).hexdigest()}"


def _chunks(missing: Sequence[tuple[str, Clip]]) -> Iterator[list[tuple[str, Clip]]]:
    chunk: list[tuple[str, Clip]] = []
    seconds = 0.0
    for name, clip in missing:
        chunk.append((name, clip))
        seconds += clip.seconds
        if seconds >= CHUNK:
            yield chunk
            chunk, seconds = [], 0.0
    if chunk:
        yield chunk
