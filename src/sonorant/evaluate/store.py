"""Features on disk: what an encoder gave for each utterance, layer by layer, read without the encoder.

A store is a folder:

    features.json                 version, seconds a frame, layers with their dimensions, provenance
    index.jsonl                   {"id", "frames", "shard"} of each utterance, in order
    layer_NN-SSSSS.safetensors    layer NN's frames of shard SSSSS's utterances, one behind the other

Values are float16: its rounding (1 part in 2048) is far below what a probe notices, bfloat16's (1 in 256) is
not for features that lie far from zero, and float32 doubles the disk. A value that float16 does not have,
beyond 65504, is an error.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

VERSION = 1
CHUNK = 64  # utterances in memory at once where only some of their frames are kept
T = TypeVar("T")


class StoreError(ValueError):
    """A feature store that cannot be read or written, in one line: where, what, and the way out."""


class Layer(msgspec.Struct, frozen=True):
    """A layer's name and the width of its frames."""

    name: str
    dim: int


class Header(msgspec.Struct, frozen=True):
    """The content of `features.json`."""

    version: int
    frame_seconds: float  # from one frame to the next
    first_centre: float  # seconds from the clip's start to the middle of its first frame
    layers: list[Layer]
    provenance: dict[str, Any]  # which run, step, data: whatever is needed to make the features again
    sees_future: bool = False  # whether a frame was computed from audio that comes after it
    section: int | None = None  # about so many frames were encoded by themselves; null: whole utterances


class Entry(msgspec.Struct, frozen=True):
    """A line of `index.jsonl`."""

    id: str
    frames: int
    shard: int


class FeatureWriter:
    """Writes a store whole or not at all: into `NAME.partial`, which is renamed when the `with` block ends.

    StoreError: the folder exists, or an utterance comes twice, or it does not fit those before it.
    """

    def __init__(
        self,
        path: Path,
        *,
        frame_seconds: float,
        first_centre: float,
        provenance: Mapping[str, Any],
        sees_future: bool = False,
        section: int | None = None,
        shard_bytes: int = 64 * 2**20,
    ) -> None:
        if path.exists():
            raise StoreError(f"{path}: exists already (remove it or choose another folder)")
        if not frame_seconds > 0:
            raise StoreError(f"{path}: a frame of {frame_seconds} s (give the seconds between frames)")
        self._path = path
        self._partial = path.with_name(f"{path.name}.partial")
        self._frame_seconds, self._first_centre = frame_seconds, first_centre
        self._provenance = dict(provenance)
        self._sees_future, self._section = sees_future, section
        self._shard_bytes = shard_bytes
        self._layers: list[Layer] = []
        self._entries: dict[str, Entry] = {}
        self._buffer: list[list[Tensor]] = []
        self._shard = self._bytes = 0

    def __enter__(self) -> "FeatureWriter":  # noqa: PYI034 (shape checking does not know Self)
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        return self

    def add(self, utterance: str, layers: Mapping[str, Float[Tensor, "time _"]]) -> None:
        """Keep an utterance's frames; every utterance has the same layers, every layer the same frames."""
        frames = self._check(utterance, layers)
        self._entries[utterance] = Entry(id=utterance, frames=frames, shard=self._shard)
        self._buffer.append([values.detach().to("cpu", torch.float16) for values in layers.values()])
        self._bytes += sum(values.numel() * 2 for values in layers.values())
        if self._bytes >= self._shard_bytes:
            self._flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def _check(self, utterance: str, layers: Mapping[str, Tensor]) -> int:
        """The utterance's number of frames, if it fits into the store."""
        if utterance in self._entries:
            raise StoreError(f"{utterance}: comes twice (give each utterance its own id)")
        shapes = [Layer(name=name, dim=values.shape[1]) for name, values in layers.items()]
        self._layers = self._layers or shapes
        if not shapes or shapes != self._layers:
            raise StoreError(f"{utterance}: layers {_names(shapes)}, but {_names(self._layers)} before it")
        frames = {len(values) for values in layers.values()}
        if len(frames) != 1:
            raise StoreError(f"{utterance}: its layers have different numbers of frames: {sorted(frames)}")
        for name, values in layers.items():
            if not bool((values.abs() <= torch.finfo(torch.float16).max).all()):
                raise StoreError(
                    f"{utterance}: {name} has values that are not finite or beyond 65504 "
                    "(look for a diverged model, or scale the features)"
                )
        return frames.pop()

    def _flush(self) -> None:
        for number, parts in enumerate(zip(*self._buffer, strict=True)):
            save_file({"frames": torch.cat(parts)}, self._partial / _shard(number, self._shard))
        self._buffer, self._bytes = [], 0
        self._shard += 1

    def _finish(self) -> None:
        if not self._entries:
            raise StoreError(f"{self._path}: no utterance was added (check the manifest)")
        if self._buffer:
            self._flush()
        lines = (msgspec.json.encode(entry) + b"\n" for entry in self._entries.values())
        (self._partial / "index.jsonl").write_bytes(b"".join(lines))
        header = Header(
            VERSION,
            self._frame_seconds,
            self._first_centre,
            self._layers,
            self._provenance,
            self._sees_future,
            self._section,
        )
        (self._partial / "features.json").write_bytes(
            msgspec.json.format(msgspec.json.encode(header)) + b"\n"
        )
        self._partial.rename(self._path)


class FeatureStore:
    """A store to read. StoreError: a file is missing, damaged or of another version."""

    def __init__(self, path: Path) -> None:
        self.path = path
        header = _decode(path / "features.json", msgspec.json.Decoder(Header).decode)
        if header.version != VERSION:
            raise StoreError(
                f"{path}: version {header.version}, this code reads {VERSION} (extract it again)"
            )
        self.layers = tuple(layer.name for layer in header.layers)
        self.dims = {layer.name: layer.dim for layer in header.layers}
        self.frame_seconds, self.first_centre = header.frame_seconds, header.first_centre
        self.provenance = header.provenance
        self.sees_future, self.section = header.sees_future, header.section
        entries = _decode(path / "index.jsonl", msgspec.json.Decoder(Entry).decode_lines)
        self.ids = tuple(entry.id for entry in entries)
        self.lengths = {entry.id: entry.frames for entry in entries}  # in frames
        self._places: dict[str, tuple[int, int]] = {}  # shard, and where in it the utterance begins
        self._filled: dict[int, int] = {}  # frames of each shard
        for entry in entries:
            self._places[entry.id] = entry.shard, self._filled.get(entry.shard, 0)
            self._filled[entry.shard] = self._filled.get(entry.shard, 0) + entry.frames

    def centre(self, frame: int) -> float:
        """Seconds from the clip's start to the middle of a frame."""
        return self.first_centre + frame * self.frame_seconds

    def nearest(self, seconds: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
        """The frame whose centre is nearest to each time, counted on beyond an utterance's ends.

        Halves go up, in spite of rounding: else neighbouring frames get different distances.
        """
        return ((seconds - self.first_centre) / self.frame_seconds + 0.5 + 1e-6).floor().long()

    def read(self, layer: str, names: Sequence[str]) -> list[Float[Tensor, "_ dim"]]:
        """A layer's frames of these utterances alone, in float32; no more than they are in memory."""
        self._known(layer)
        shards: dict[int, list[str]] = {}
        for name in names:
            shards.setdefault(self._places[name][0], []).append(name)
        frames, found = dict[str, Tensor](), dict[int, int]()
        for shard, members in shards.items():
            file = self.path / _shard(self.layers.index(layer), shard)
            with _errors_named(file), safe_open(file, "pt") as opened:
                rows = opened.get_slice("frames")
                found[shard] = rows.get_shape()[0]
                for name in members:
                    start = self._places[name][1]
                    frames[name] = rows[start : start + self.lengths[name]].float()
        for name, values in frames.items():
            if tuple(values.shape) != (expected := (self.lengths[name], self.dims[layer])):
                raise StoreError(
                    f"{self.path}: {layer} of {name} has shape {tuple(values.shape)}, "
                    f"the index says {expected} (extract again)"
                )
        for shard, count in found.items():
            if count != self._filled[shard]:
                raise StoreError(
                    f"{self.path / _shard(self.layers.index(layer), shard)}: has {count} frames, "
                    f"the index says {self._filled[shard]} (extract again)"
                )
        return [frames[name] for name in names]

    def pick(self, layer: str, places: Mapping[str, Int[Tensor, " _"]]) -> Float[Tensor, "n dim"]:
        """The frames at these places of these utterances, one utterance behind the other, in float32.

        Only they and `CHUNK` utterances are ever in memory.
        """
        names = [name for name, chosen in places.items() if len(chosen)]
        kept = []
        for start in range(0, len(names), CHUNK):
            chunk = names[start : start + CHUNK]
            frames = self.read(layer, chunk)
            kept += [each[places[name]] for name, each in zip(chunk, frames, strict=True)]
        return torch.cat(kept)

    def _known(self, layer: str) -> None:
        if layer not in self.dims:
            raise StoreError(f"{self.path}: no layer {layer!r}, there are {', '.join(self.layers)}")


def section_bounds(frames: int, section: int) -> list[int]:
    """Where the sections of an utterance begin, and its number of frames: equal parts, of about `section`."""
    parts = max(1, round(frames / section))
    return [part * frames // parts for part in range(parts + 1)]


@contextmanager
def _errors_named(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, KeyError) as error:
        raise StoreError(f"{file}: cannot be read: {error} (extract the features again)") from error


def _shard(layer: int, shard: int) -> str:
    return f"layer_{layer:02d}-{shard:05d}.safetensors"


def _names(layers: Sequence[Layer]) -> str:
    return ", ".join(f"{layer.name} ({layer.dim})" for layer in layers) or "none"


def _decode(file: Path, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(file.read_bytes())
    except OSError as error:
        raise StoreError(f"{file}: cannot be read: {error.strerror} (is this a feature store?)") from error
    except msgspec.DecodeError as error:
        raise StoreError(f"{file}: {error} (extract the features again)") from error
