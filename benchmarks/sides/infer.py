"""One engine's inference over a manifest, from files to features or to transcripts, again and again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from serve import Work, serve

from sonorant.asr.transcribe import Recogniser
from sonorant.asr.vocabulary import Vocabulary
from sonorant.config import convert
from sonorant.data.dataset import DataConfig, Dataset
from sonorant.data.manifest import read
from sonorant.encoders.base import Encoder
from sonorant.encoders.build import EncoderConfig, build
from sonorant.evaluate.wer import character_error_rate
from sonorant.objectives import ctc
from sonorant.recipes.onnx import Windows, onnx_session, run_onnx
from sonorant.recipes.precision import prepared
from sonorant.recipes.recognise import load_recogniser, recognise
from sonorant.recipes.recogniser import load_network
from sonorant.recipes.settings import load_encoder
from sonorant.types import Padded

ENCODERS: dict[str, dict[str, Any]] = {
    "tiny": {
        "frontend": {"name": "log_mel", "stack": 4},
        "context": {"name": "conformer", "dim": 192, "layers": 4, "heads": 4, "kernel": 15},
    },
    "base": {
        "frontend": {"name": "convolutions"},
        "context": {"name": "transformer", "dim": 768, "layers": 12, "heads": 12, "feedforward": 3072},
    },
}
VOCABULARY = Vocabulary.of(["abcdefghijklmnopqrstuvwxyz'"])  # of an untrained network


def encoder(subject: str) -> Encoder:
    """A run's encoder, or an untrained one of a size."""
    if subject not in ENCODERS:
        return load_encoder(Path(subject))
    torch.manual_seed(0)
    return build(convert(ENCODERS[subject], EncoderConfig)).eval()


def recogniser(subject: str) -> tuple[ctc.CTC, Vocabulary]:
    if subject not in ENCODERS:
        network, vocabulary = load_network(Path(subject))
        assert isinstance(network, ctc.CTC)
        assert isinstance(vocabulary, Vocabulary)
        return network, vocabulary
    built = ctc.Config(labels=len(VOCABULARY)).build(encoder(subject))
    return built.eval(), VOCABULARY


def features(task: dict[str, Any]) -> Callable[[], float]:
    model = encoder(task["subject"])
    config = DataConfig(manifest="", rate=model.frontend.rate, min_seconds=0, cache_hours=0)
    data = Dataset(read(Path(task["manifest"])), config)
    forward = _forward(model, task)

    def computed() -> Iterator[torch.Tensor]:
        for batch in data.in_order(task["batch_seconds"]):
            frames = forward(batch.inputs)
            yield frames.values[frames.mask].float()

    np.save(task["out"], torch.cat(list(computed())).numpy())
    return lambda: float(sum(frames.mean() for frames in computed()))


def _forward(model: Encoder, task: dict[str, Any]) -> Callable[[Padded], Padded]:
    if task["engine"] == "onnx":
        session = onnx_session(Path(task["file"]))
        return lambda inputs: Padded(*run_onnx(session, inputs))
    model, computing = prepared(model, task["precision"], torch.device("cpu"))

    def forward(inputs: Padded) -> Padded:
        with computing():
            return model(inputs).last

    return forward


def transcripts(task: dict[str, Any]) -> Callable[[], float]:
    """A step gives the character error rate."""
    clips, made = read(Path(task["manifest"])), _recogniser(task)

    def step() -> float:
        hypotheses, _ = recognise(clips, made)
        pairs = [(each.reference, each.hypothesis) for each in hypotheses if each.reference]
        return character_error_rate(pairs).rate if pairs else 0.0

    return step


def _recogniser(task: dict[str, Any]) -> Recogniser:
    subject = task["subject"]
    if task["engine"] == "onnx":
        return load_recogniser(Path(task["file"]))
    if subject not in ENCODERS:
        return load_recogniser(Path(subject), precision=task["precision"])
    model, vocabulary = recogniser(subject)
    model, computing = prepared(model, task["precision"], torch.device("cpu"))

    def log_probabilities(inputs: Padded) -> Padded:
        with computing():
            return model.log_probabilities(inputs)

    return Recogniser(log_probabilities, windows(model.encoder), vocabulary)


def windows(model: Encoder) -> Windows:
    part = model.frontend
    window = next(samples for samples in range(1, part.rate) if part.frames(samples))
    return Windows(part.rate, part.stride, window)


if __name__ == "__main__":
    works = {"features": features, "transcripts": transcripts}
    serve({name: lambda task, work=work: Work(work(task)) for name, work in works.items()})
