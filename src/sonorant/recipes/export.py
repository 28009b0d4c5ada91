"""From a run to one ONNX file: samples go in, log probabilities or a layer's frames come out."""

import json
import logging
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sonorant import __version__
from sonorant.asr.vocabulary import Vocabulary
from sonorant.config import ConfigError
from sonorant.encoders.base import FRONTEND, Encoder, Frontend
from sonorant.objectives.ctc import CTC
from sonorant.recipes.onnx import FEATURES, FRAMES, LENGTHS, LOG_PROBABILITIES, NEEDED, SAMPLES
from sonorant.recipes.recogniser import load_network
from sonorant.recipes.settings import best_checkpoint, load_encoder
from sonorant.train import checkpoint
from sonorant.types import Padded

OPSET = 18


class Features(nn.Module):
    """An encoder up to one of its layers."""

    def __init__(self, encoder: Encoder, layer: str) -> None:
        super().__init__()
        self.encoder, self.layer = encoder, layer

    def forward(
        self, samples: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch time dim"], Int[Tensor, " batch"]]:
        frames = self.encoder.frontend(Padded(samples, lengths))
        if self.layer != FRONTEND:
            hidden = self.encoder.context(self.encoder.project(frames))
            frames = Padded(hidden.layers[int(self.layer.removeprefix("layer_"))], hidden.lengths)
        return frames.zeroed().values, frames.lengths


class LogProbabilities(nn.Module):
    """A recogniser."""

    def __init__(self, recogniser: CTC) -> None:
        super().__init__()
        self.recogniser = recogniser

    def forward(
        self, samples: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch time labels"], Int[Tensor, " batch"]]:
        found = self.recogniser.log_probabilities(Padded(samples, lengths))
        return found.zeroed().values, found.lengths


def export(run: Path, out: Path, *, layer: str | None = None, precision: str = "fp32") -> None:
    """Writes a run or checkpoint as ONNX, with dynamic batch and time; zeros stand in the padding.

    Without `layer` a recogniser gives log probabilities, an encoder its last layer. `int8` lets ONNX Runtime
    quantise the products of matrices, their inputs as they come: one scale for a whole batch, so that an
    utterance's neighbours then change it a little. Metadata: see docs/inference.md.
    ConfigError: a package is missing, a setting is not possible.
    """
    if out.suffix != ".onnx":
        raise ConfigError(f"{out}: has to end in .onnx")
    if precision not in ("fp32", "int8"):
        raise ConfigError(f"precision: {precision!r} is not one of fp32, int8")
    network, output, metadata = _network(run, layer)
    if any(isinstance(part, nn.RNNBase) for part in network.modules()):
        raise ConfigError(
            f"{run}: PyTorch's exporter fails on GRU and LSTM (a Transformer or Conformer works)"
        )
    write_network(network, out, output, metadata, precision=precision)


def write_network(
    network: nn.Module, out: Path, output: str, metadata: Mapping[str, str], *, precision: str
) -> None:
    """Writes what maps `samples` and `lengths` to `output` and `frames`, whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    told = {**metadata, "precision": precision, "sonorant": __version__}
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        partial = Path(folder) / out.name
        _write(network.eval(), partial, output, told)
        if precision == "int8":
            partial = _in_int8(partial)
        partial.replace(out)


def _network(run: Path, layer: str | None) -> tuple[nn.Module, str, dict[str, str]]:
    folder = best_checkpoint(run)
    if layer is None and "pretrained" in checkpoint.read_config(folder):
        recogniser, vocabulary = load_network(run)
        if not (isinstance(recogniser, CTC) and isinstance(vocabulary, Vocabulary)):
            raise ConfigError(
                f"{run}: only CTC over characters can be exported (--layer exports its encoder)"
            )
        labels = {
            "characters": json.dumps(vocabulary.characters, ensure_ascii=False),
            "normalisation": vocabulary.normalisation,
        }
        return LogProbabilities(recogniser), LOG_PROBABILITIES, _frames(recogniser.encoder.frontend) | labels
    encoder = load_encoder(folder)
    layers = [FRONTEND, *(f"layer_{number}" for number in range(encoder.context.depth))]
    if layer is not None and layer not in layers:
        raise ConfigError(f"layer: {layer!r} is not one of {', '.join(layers)}")
    chosen = layer or layers[-1]
    return Features(encoder, chosen), FEATURES, {**_frames(encoder.frontend), "layer": chosen}


def _frames(frontend: Frontend) -> dict[str, str]:
    return {"rate": str(frontend.rate), "stride": str(frontend.stride), "window": str(frontend.window)}


def _write(network: nn.Module, path: Path, output: str, metadata: dict[str, str]) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401 (what PyTorch's exporter is made of)
    except ImportError as error:
        raise ConfigError(f"export: the package {error.name} is missing ({NEEDED})") from error
    # once in earnest: the log-mel matrices have to be there before the graph is drawn
    example = (torch.zeros(2, 16000), torch.tensor([16000, 12000]))
    dynamic = torch.export.Dim.DYNAMIC
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch to itself
        network(*example)
        program = torch.onnx.export(
            network,
            example,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[SAMPLES, LENGTHS],
            output_names=[output, FRAMES],
            dynamic_shapes={"samples": {0: dynamic, 1: dynamic}, "lengths": {0: dynamic}},
        )
    model: Any = program.model_proto if program is not None else None
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)


def _in_int8(path: Path) -> Path:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # a spectrum's energies span more than 8 bits
    outside = [
        node.name
        for node in onnx.load(path).graph.node
        if any("frontend" in each.value for each in node.metadata_props if each.key.endswith("name_scopes"))
    ]
    quantised = path.with_name("int8.onnx")
    logging.disable(logging.WARNING)
    try:
        quantize_dynamic(
            path,
            quantised,
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_exclude=outside,
        )
    finally:
        logging.disable(logging.NOTSET)
    return quantised
