"""A recogniser in an ONNX file, as `export` writes it, computed by ONNX Runtime."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sonorant.asr.transcribe import Recogniser
from sonorant.asr.vocabulary import Vocabulary
from sonorant.config import ConfigError
from sonorant.types import Padded

SAMPLES, LENGTHS, FRAMES = "samples", "lengths", "frames"  # the graph's inputs, and its second output
LOG_PROBABILITIES, FEATURES = "log_probabilities", "features"  # its first output
NEEDED = "pip install 'sonorant[onnx]'"


@dataclass(frozen=True)
class Windows:
    """How a file's network makes frames of samples."""

    rate: int  # samples a second
    stride: int  # samples from one frame to the next
    window: int  # samples that one frame needs

    def frames(self, samples: int) -> int:
        return max(0, (samples - self.window) // self.stride + 1)


def onnx_recogniser(path: Path) -> Recogniser:
    """ConfigError: the file is not a recogniser that `export` wrote, or ONNX Runtime is missing."""
    session = onnx_session(path)
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        vocabulary = Vocabulary(tuple(json.loads(metadata["characters"])), metadata["normalisation"])
        windows = Windows(*(int(metadata[key]) for key in ("rate", "stride", "window")))
    except KeyError as error:
        raise ConfigError(
            f"{path}: has no {error} among its metadata (export a fine-tuned run: sonorant export --help)"
        ) from error

    def log_probabilities(inputs: Padded) -> Padded:
        values, frames = run_onnx(session, inputs)
        return Padded(values, frames)

    return Recogniser(log_probabilities, windows, vocabulary)


def onnx_session(path: Path) -> Any:
    """The file in ONNX Runtime, with as many threads as PyTorch has. ConfigError: it is not an ONNX file."""
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors
    except ImportError as error:
        raise ConfigError(f"{path}: needs ONNX Runtime ({NEEDED})") from error
    if not path.is_file():
        raise ConfigError(f"{path}: cannot be read: no such file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except (errors.InvalidProtobuf, errors.InvalidGraph, errors.Fail) as error:
        raise ConfigError(f"{path}: not an ONNX file, or damaged (export it again)") from error


def run_onnx(session: Any, inputs: Padded) -> tuple[torch.Tensor, torch.Tensor]:
    """A padded batch of frames, and how many each waveform has."""
    values, frames = session.run(
        None, {SAMPLES: inputs.values.numpy(), LENGTHS: inputs.lengths.numpy().astype("int64")}
    )
    return torch.from_numpy(values), torch.from_numpy(frames)
