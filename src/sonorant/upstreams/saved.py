"""Folders that transformers saves: their settings and their weights."""

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError

from sonorant.config import ConfigError

NEEDED = "pip install 'sonorant[hf]'"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # and their indices, if there are several
RATE = 16000  # samples a second that every model here was trained on


def library(folder: Path) -> Any:
    """The package transformers. ConfigError: it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(f"{folder}: is read by the package transformers ({NEEDED})") from error
    return transformers


def config(folder: Path) -> dict[str, Any]:
    """The content of `config.json`; empty if there is none. ConfigError: it cannot be read."""
    return _json(folder / "config.json")


def preprocessing(folder: Path) -> dict[str, Any]:
    """What is done to waveforms, of a feature extractor or of a whole processor; empty if it is not said.

    ConfigError: it cannot be read, or asks for another rate.
    """
    found = _json(folder / "preprocessor_config.json")
    found = found or _json(folder / "processor_config.json").get("feature_extractor", {})
    if (rate := found.get("sampling_rate", RATE)) != RATE:
        raise ConfigError(f"{folder}: made for {rate} samples a second; only {RATE} are supported")
    return found


def model(folder: Path, *, untrained: bool, part: str = "") -> Any:
    """The network without its heads, in single precision, ready for inference.

    Nothing that a folder holds is executed: pickled weights are read with `weights_only`, code is not run.
    ConfigError: weights are missing, damaged or of another shape; of `part` alone where that is given.
    """
    transformers = library(folder)
    with _errors_named(folder), _quiet(transformers):
        if untrained:
            settings = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            network = transformers.AutoModel.from_config(settings, dtype=torch.float32)
        else:
            _check_weights(folder)
            network, info = transformers.AutoModel.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # they are told below
                output_loading_info=True,
            )
            absent = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
            _check_whole(folder, [name for name in absent if name.startswith(part)])
    return network.eval()


def _check_weights(folder: Path) -> None:
    names = [name + end for name in WEIGHTS for end in ("", ".index.json")]
    if not any((folder / name).is_file() for name in names):
        raise ConfigError(f"{folder}: has no weights (expected {WEIGHTS[0]} or {WEIGHTS[1]})")


def _check_whole(folder: Path, absent: Sequence[str]) -> None:
    """ConfigError if weights that features are made with are not in the file: they would be drawn anew."""
    needed = sorted(name for name in absent if name != "masked_spec_embed")
    if needed:
        told = ", ".join(needed[:3]) + (f" and {len(needed) - 3} more" if len(needed) > 3 else "")
        raise ConfigError(
            f"{folder}: weights are missing or of another shape: {told} (is config.json another model's?)"
        )


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error


@contextmanager
def _errors_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except (
        *(OSError, ValueError, TypeError, RuntimeError, KeyError, ImportError),
        *(EOFError, SafetensorError, pickle.UnpicklingError),
    ) as error:
        first, *_ = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"{folder}: cannot be loaded: {first}") from error


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without progress bars and tables of the heads' weights that are left out."""
    logging = transformers.utils.logging
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
