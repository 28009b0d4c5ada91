"""Guards Whisper's encoder: transformers' hidden states, real frames alone, CTranslate2's weights."""

import pytest
import torch
from cut_speech import speech
from tiny_models import SECONDS, ctranslate2_file, whisper_model

from sonorant.config import ConfigError
from sonorant.recipes.precision import prepared
from sonorant.types import Padded
from sonorant.upstreams.load import load

LAYERS = ["frontend", "input", "layer_0", "layer_1"]


@pytest.fixture(scope="module")
def batch():
    inputs = speech(0.905, 0.5, 1.3).inputs
    return Padded(torch.where(inputs.mask, inputs.values, torch.ones(1)), inputs.lengths)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    return folder, *whisper_model(folder)


def test_layers_are_transformers_hidden_states_of_real_frames(saved, batch):
    folder, encoder, extractor = saved
    upstream = load(folder)
    with torch.no_grad():
        found = upstream.features(batch)
        front = upstream.front()(batch)
    assert list(found) == LAYERS
    for row, length in enumerate(batch.lengths.tolist()):
        wave = batch.values[row, :length].numpy()
        energies = extractor(wave, sampling_rate=16000, return_tensors="pt").input_features
        with torch.no_grad():
            hidden = encoder(energies, output_hidden_states=True).hidden_states
        frames = energies[0].T.reshape(-1, 160)
        count = length // 320 - 1
        for name, values in zip(LAYERS, [frames, *(each[0] for each in hidden)], strict=True):
            assert int(found[name].lengths[row]) == count
            expected = values[1 : count + 1]
            assert expected.std() > 0.1
            assert (found[name].values[row, :count] - expected).abs().max() < 1e-5
            assert not found[name].values[row, count:].any()
    assert torch.equal(front.values, found["frontend"].values)


def test_frames_are_centred_on_their_samples(saved):
    """A click moves the energies of the frame that lies around it most."""
    front = load(saved[0]).front()
    assert (front.window, front.stride, front.longest, front.dim) == (640, 320, SECONDS, 160)
    assert [front.frames(samples) for samples in (639, 640, 959, 960, 64000)] == [0, 1, 1, 2, 199]
    wave = torch.zeros(16000)
    wave[round(front.window / 2) + 20 * front.stride] = 1  # the middle of frame 20
    energies = front(Padded(wave[None], torch.tensor([16000]))).values[0].mean(1)
    assert int(energies.argmax()) == 20


def test_too_much_at_once_is_refused(saved):
    samples = SECONDS * 16000 + 1
    with pytest.raises(ValueError, match="64001 samples is longer than the 4 s of this model"):
        load(saved[0]).features(Padded(torch.zeros(1, samples), torch.tensor([samples])))


@pytest.mark.parametrize(("kind", "most"), [(0, 1e-6), (4, 0.01), (5, 0.05)], ids=["fp32", "fp16", "bf16"])
def test_ctranslate2_has_the_same_encoder(kind, most, saved, batch, tmp_path):
    folder, encoder, extractor = saved
    ctranslate2_file(encoder, tmp_path / "model.bin", kind=kind)
    extractor.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"alignment_heads": [[1, 0]], "lang_ids": []}')
    with torch.no_grad():
        expected = load(folder).features(batch)["layer_1"].values
        found = load(tmp_path).features(batch)["layer_1"].values
        other = load(tmp_path, untrained=True).features(batch)["layer_1"].values
    assert (found - expected).norm() / expected.norm() < most
    assert (other - expected).norm() / expected.norm() > 0.5


def test_other_files_of_ctranslate2_are_refused(saved, tmp_path):
    _, encoder, _ = saved
    file = tmp_path / "model.bin"
    ctranslate2_file(encoder, file)
    whole = file.read_bytes()
    for content, told in (
        (whole[:-9000], "is damaged or no model of CTranslate2"),
        (b"", "is damaged or no model of CTranslate2"),
        (whole.replace(b"WhisperSpec", b"WaveRNNSpec"), "is no Whisper of CTranslate2"),
        (whole.replace(b"encoder/conv2/bias", b"encoder/conv9/bias"), "'conv2/bias' is missing"),
    ):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=f"model.bin: .*{told}"):
            load(tmp_path)
    scale = torch.ones(3)
    ctranslate2_file(encoder, file, extra=[("layer_0/ffn/linear_0/weight_scale", scale)])
    with pytest.raises(ConfigError, match=r"has weights in integers \(convert the model with --quant"):
        load(tmp_path)


def test_a_preprocessor_of_another_network_is_refused(saved, tmp_path):
    _, encoder, _ = saved
    ctranslate2_file(encoder, tmp_path / "model.bin")
    with pytest.raises(ConfigError, match="gives 80 x 3000 energies, its network takes 80 x 400"):
        load(tmp_path)


@pytest.mark.parametrize(("precision", "most"), [("bf16", 0.05)])
def test_another_precision_is_near(precision, most, saved, batch):
    upstream, found = load(saved[0]), {}
    for name in ("fp32", precision):
        model, computing = prepared(upstream, name, torch.device("cpu"))
        with computing():
            found[name] = model.features(batch)
    assert torch.equal(found["fp32"]["frontend"].values, found[precision]["frontend"].values)
    expected = found["fp32"]["layer_1"].values
    error = (found[precision]["layer_1"].values.float() - expected).norm() / expected.norm()
    assert 0 < error < most
