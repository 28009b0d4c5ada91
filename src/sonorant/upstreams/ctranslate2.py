"""The weights of a Whisper encoder in CTranslate2's `model.bin`.

The file: a version, the name of the specification, its revision and the number of variables; of each variable
its name, shape, type and bytes. Numbers are little-endian, strings have their length before them and a zero
behind. https://github.com/OpenNMT/CTranslate2
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sonorant.config import ConfigError

FILE = "model.bin"
OLDEST = 4  # version that has variables' types
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16, 5: np.int16}
BFLOAT16 = 5
PARTS = {  # of a block: CTranslate2's name, and transformers'
    "self_attention/layer_norm/gamma": "self_attn_layer_norm.weight",
    "self_attention/layer_norm/beta": "self_attn_layer_norm.bias",
    "self_attention/linear_1/weight": "self_attn.out_proj.weight",
    "self_attention/linear_1/bias": "self_attn.out_proj.bias",
    "ffn/layer_norm/gamma": "final_layer_norm.weight",
    "ffn/layer_norm/beta": "final_layer_norm.bias",
    "ffn/linear_0/weight": "fc1.weight",
    "ffn/linear_0/bias": "fc1.bias",
    "ffn/linear_1/weight": "fc2.weight",
    "ffn/linear_1/bias": "fc2.bias",
}
ENDS = {
    "conv1/weight": "conv1.weight",
    "conv1/bias": "conv1.bias",
    "conv2/weight": "conv2.weight",
    "conv2/bias": "conv2.bias",
    "position_encodings/encodings": "embed_positions.weight",
    "layer_norm/gamma": "layer_norm.weight",
    "layer_norm/beta": "layer_norm.bias",
}


def whisper_encoder(file: Path) -> tuple[dict[str, int], dict[str, Tensor]]:
    """The sizes of a Whisper encoder, and its weights in single precision, as transformers names both.

    ConfigError: the file cannot be read, is no Whisper's, or has weights in integers.
    """
    found = _read(file)
    if any(name.endswith("weight_scale") for name in found):
        raise ConfigError(f"{file}: has weights in integers (convert the model with --quantization float16)")
    try:
        return _sizes(found), _weights(found)
    except KeyError as error:
        raise ConfigError(f"{file}: {error} is missing: not Whisper's encoder as it is known") from error


def _sizes(found: dict[str, Tensor]) -> dict[str, int]:
    dim, mels, _ = found["conv1/weight"].shape
    return {
        "d_model": dim,
        "num_mel_bins": mels,
        "max_source_positions": len(found["position_encodings/encodings"]),
        "encoder_layers": _depth(found),
        "encoder_attention_heads": int(found["num_heads"]),
        "encoder_ffn_dim": len(found["layer_0/ffn/linear_0/weight"]),
    }


def _depth(found: dict[str, Tensor]) -> int:
    return sum(name.endswith("/ffn/linear_0/weight") for name in found)


def _weights(found: dict[str, Tensor]) -> dict[str, Tensor]:
    weights = {theirs: found[ours] for ours, theirs in ENDS.items()}
    for number in range(_depth(found)):
        for ours, theirs in PARTS.items():
            weights[f"layers.{number}.{theirs}"] = found[f"layer_{number}/{ours}"]
        for kind in ("weight", "bias"):
            fused = found[f"layer_{number}/self_attention/linear_0/{kind}"]
            for one, values in zip("qkv", fused.chunk(3), strict=True):
                weights[f"layers.{number}.self_attn.{one}_proj.{kind}"] = values
        del weights[f"layers.{number}.self_attn.k_proj.bias"]  # zeros: keys have none
    return {name: values.float() for name, values in weights.items()}


def _read(file: Path) -> dict[str, Tensor]:
    """The encoder's variables."""
    prefix = "encoder/"
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return {
                name.removeprefix(prefix): _tensor(content, *place)
                for name, place in _variables(content, file)
                if name.startswith(prefix)
            }
    except (OSError, ValueError, KeyError, struct.error) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{file}: is damaged or no model of CTranslate2: {error}") from error


def _variables(content: mmap.mmap, file: Path) -> Iterator[tuple[str, tuple[int, tuple[int, ...], int]]]:
    """Each variable's name, and its type, shape and place."""
    place = 0

    def take(form: str) -> tuple[Any, ...]:
        nonlocal place
        start, place = place, place + struct.calcsize(f"<{form}")
        return struct.unpack_from(f"<{form}", content, start)

    def text() -> str:
        (length,) = take("H")
        (value,) = take(f"{length}s")
        return str(value[:-1], "utf8")

    (version,) = take("I")
    if version < OLDEST or (name := text()) != "WhisperSpec":
        raise ConfigError(f"{file}: is no Whisper of CTranslate2 (version {version})")
    _, count = take("II")
    for _ in range(count):
        name = text()
        (rank,) = take("B")
        shape = take(f"{rank}I")
        kind, size = take("BI")
        yield name, (kind, shape, place)
        place += size


def _tensor(content: mmap.mmap, kind: int, shape: tuple[int, ...], place: int) -> Tensor:
    count = int(np.prod(shape, dtype=np.int64))
    values = torch.from_numpy(np.frombuffer(content, TYPES[kind], count, place).copy()).reshape(shape)
    return values.view(torch.bfloat16) if kind == BFLOAT16 else values
