"""Guards ONNX files: what PyTorch computes, for any batch and length, with what is needed to use them."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from sonorant.config import convert
from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.encoders.build import EncoderConfig, build
from sonorant.recipes.export import Features, write_network
from sonorant.recipes.recognise import load_recogniser
from sonorant.recipes.settings import load_encoder
from sonorant.types import Padded, pad

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "inference.md"


@pytest.fixture(scope="module")
def attentive(place, tiny, sonorant):
    """A pretraining run with another network than the fixtures': recurrent ones cannot be exported."""
    folder, context = place / "attentive", "encoder.context.name=transformer"
    small = [
        f"encoder.context.{key}" for key in ("layers=1", "heads=2", "feedforward=32", "position_kernel=8")
    ]
    words = ("pretrain", tiny, f"out={folder}", context, *small, "encoder.context.position_groups=2")
    done = sonorant(*words, "objective={name: best_rq}", "train.precision=fp32", "-q")
    assert done.code == 0, done
    return folder


@pytest.fixture(scope="module")
def finetuned(place, attentive, few, sonorant):
    folder, words = place / "attentive-ctc", ["finetune", "ctc", f"pretrained={attentive}"]
    data = [f"data.manifest={few}", "data.batch_seconds=10", "data.workers=0"]
    small = ["train.minutes=null", "train.steps=6", "train.precision=fp32", "objective.freeze_context=2"]
    done = sonorant(*words, *data, *small, f"out={folder}", "-q")
    assert done.code == 0, done
    return folder


@pytest.fixture(scope="module")
def recogniser(place, sonorant, finetuned):
    path = place / "recogniser.onnx"
    assert sonorant("export", finetuned, "--out", path).out == f"{path}\n"
    return path


@pytest.fixture(scope="module")
def waves(few):
    return [torch.from_numpy(load(clip, 16000)) for clip in read(few)[:3]]


def filled(waves, longest, value):
    """Waveforms with something else than zeros in their padding."""
    inputs = pad(waves)
    values = torch.full((len(waves), longest), value)
    values[:, : inputs.values.shape[1]] = torch.where(inputs.mask, inputs.values, value)
    return Padded(values, inputs.lengths)


def test_log_probabilities_are_those_of_pytorch(finetuned, recogniser, waves):
    exact = load_recogniser(finetuned, precision="fp32")
    found = load_recogniser(recogniser)
    assert found.vocabulary == exact.vocabulary
    longest = max(map(len, waves))
    for chosen, size in ((waves, longest), (waves, longest + 7777), (waves[1:2], len(waves[1]))):
        expected = exact.log_probabilities(pad(chosen))
        result = found.log_probabilities(filled(chosen, size, 3.0))
        assert result.lengths.tolist() == expected.lengths.tolist()
        time = expected.values.shape[1]
        assert not result.values[:, time:].any()
        error = (result.values[:, :time] - expected.values)[expected.mask].abs().max()
        assert error < 1e-4 * expected.values.abs().max()
    for samples in (0, 400, 880, 16000, 16639, 16640):
        assert found.frontend.frames(samples) == exact.frontend.frames(samples)


def test_an_exported_recogniser_transcribes(tmp_path, sonorant, finetuned, recogniser, few, clip):
    samples, rate = soundfile.read(clip.path)
    path = tmp_path / "speech.wav"
    soundfile.write(path, samples, rate)
    expected = sonorant("transcribe", finetuned, path, few, "--precision", "fp32")
    assert sonorant("transcribe", recogniser, path, few).out == expected.out


def test_the_program_of_the_documentation_works(tmp_path, monkeypatch, capsys, sonorant, recogniser, clip):
    program = re.search(r"```python\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)[1]
    path, script = tmp_path / "speech.wav", tmp_path / "program.py"
    soundfile.write(path, load(clip, 16000), 16000)
    script.write_text(program)
    monkeypatch.setattr(sys, "argv", [str(script), str(recogniser), str(path)])
    runpy.run_path(str(script))
    assert capsys.readouterr().out.split() == sonorant("transcribe", recogniser, path).out.split()


def test_a_layer_of_an_encoder_in_int8(tmp_path, sonorant, attentive, waves):
    path = tmp_path / "it.onnx"
    words = ("export", attentive, "--layer", "layer_0", "--out", path, "--precision", "int8")
    assert sonorant(*words).code == 0
    inputs = pad(waves)
    with torch.inference_mode():
        expected = load_encoder(attentive).eval()(inputs)
    session = onnxruntime.InferenceSession(path)
    metadata = session.get_modelmeta().custom_metadata_map
    assert (metadata["layer"], metadata["precision"], metadata["rate"]) == ("layer_0", "int8", "16000")
    given = {"samples": inputs.values.numpy(), "lengths": inputs.lengths.numpy()}
    features, frames = session.run(["features", "frames"], given)
    assert frames.tolist() == expected.lengths.tolist()
    mask = Padded(expected.layers[0], expected.lengths).mask
    error = np.linalg.norm((torch.from_numpy(features) - expected.layers[0])[mask])
    assert 1e-5 <= error / np.linalg.norm(expected.layers[0][mask]) < 0.1


def test_convolutions_and_a_conformer_can_be_exported(tmp_path, waves):
    torch.manual_seed(0)
    context = {"name": "conformer", "dim": 16, "layers": 1, "heads": 2, "kernel": 7}
    settings = {"frontend": {"name": "convolutions", "dim": 8}, "context": context}
    model = build(convert(settings, EncoderConfig)).eval()
    network = Features(model, "layer_0")
    write_network(network, tmp_path / "it.onnx", "features", {}, precision="fp32")
    session = onnxruntime.InferenceSession(tmp_path / "it.onnx")
    for chosen in (waves, waves[:1]):
        inputs = pad(chosen)
        with torch.inference_mode():
            expected, _ = network(inputs.values, inputs.lengths)
        longer = filled(chosen, inputs.values.shape[1] + 5000, 3.0)
        found, _ = session.run(None, {"samples": longer.values.numpy(), "lengths": longer.lengths.numpy()})
        error = np.abs(found[:, : expected.shape[1]] - expected.numpy()).max()
        assert error < 1e-4 * expected.abs().max()


def test_what_cannot_be_exported_or_used_is_refused(tmp_path, sonorant, finetuned, pretrained, clip):
    other = tmp_path / "other.onnx"
    other.write_bytes(b"this is no graph")
    for words, told in (
        (["export", pretrained, "--out", other], "fails on GRU and LSTM"),
        (["export", finetuned, "--out", tmp_path / "it.pt"], "it.pt: has to end in .onnx"),
        (["export", finetuned, "--out", other, "--precision", "bf16"], "'bf16' is not one of fp32, int8"),
        (
            ["export", pretrained, "--out", other, "--layer", "layer_9"],
            "layer: 'layer_9' is not one of front",
        ),
        (["transcribe", other, clip.path], "other.onnx: not an ONNX file, or damaged"),
        (["transcribe", tmp_path / "none.onnx", clip.path], "none.onnx: cannot be read: no such file"),
        (["transcribe", other, clip.path, "--precision", "int8"], "has its own; leave out --precision int8"),
    ):
        done = sonorant(*words)
        assert (done.code, told in done.line) == (2, True), done
