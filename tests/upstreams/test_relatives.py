"""Guards wav2vec 2.0, HuBERT, WavLM and data2vec-audio against transformers' own hidden states."""

import pytest
import torch
from cut_speech import speech
from tiny_models import KINDS, speech_model

from sonorant.nn.int8 import has_vnni
from sonorant.recipes.precision import prepared
from sonorant.types import Padded
from sonorant.upstreams.load import load

every_kind = pytest.mark.parametrize("kind", KINDS)
few = pytest.mark.parametrize("kind", ["wav2vec2", "wavlm", "data2vec"])


@pytest.fixture(scope="module")
def batch():
    """Three clips, two of them equally long, with noise where the padding is."""
    inputs = speech(0.9, 0.5, 0.9).inputs
    noise = torch.randn(inputs.values.shape, generator=torch.Generator().manual_seed(1))
    return Padded(torch.where(inputs.mask, inputs.values, noise), inputs.lengths)


def alone(batch, row):
    return batch.values[row, : batch.lengths[row]]


@every_kind
def test_layers_are_transformers_hidden_states(kind, batch, tmp_path):
    model, extractor = speech_model(kind, tmp_path)
    upstream, wave = load(tmp_path), alone(batch, 1)
    values = extractor(wave.numpy(), sampling_rate=16000, return_tensors="pt").input_values
    with torch.no_grad():
        found = upstream.features(Padded(wave[None], torch.tensor([len(wave)])))
        model.adapter = None
        expected = model(values, output_hidden_states=True)
        frames = model.feature_extractor(values).transpose(1, 2)
        if hasattr(model.feature_projection, "layer_norm"):
            frames = model.feature_projection.layer_norm(frames)
    first, *blocks, _ = expected.hidden_states
    layers = {"frontend": frames, "input": first, "layer_0": blocks[0], "layer_1": expected.last_hidden_state}
    assert list(found) == list(layers)
    for name, values in layers.items():
        assert found[name].lengths.tolist() == [upstream.front().frames(len(wave))] == [values.shape[1]]
        assert values.std() > 0.1
        assert (found[name].values - values).abs().max() < 1e-5


@every_kind
def test_neighbours_and_padding_change_nothing(kind, batch, tmp_path):
    speech_model(kind, tmp_path)
    upstream = load(tmp_path)
    with torch.no_grad():
        together = upstream.features(batch)
        front = upstream.front()(batch)
        for row in range(3):
            wave = alone(batch, row)[None]
            single = upstream.features(Padded(wave, torch.tensor([wave.shape[1]])))
            for name, frames in single.items():
                count = int(frames.lengths[0])
                assert int(together[name].lengths[row]) == count == upstream.front().frames(wave.shape[1])
                assert (together[name].values[row, :count] - frames.values[0]).abs().max() < 1e-5
                assert not together[name].values[row, count:].any()
            assert (front.values - together["frontend"].values).abs().max() < 1e-5


def test_the_front_end_tells_its_frames(tmp_path):
    speech_model("wav2vec2", tmp_path)
    front = load(tmp_path).front()
    assert (front.rate, front.stride, front.window, front.dim) == (16000, 320, 400, 24)
    assert [front.frames(samples) for samples in (0, 399, 400, 719, 720, 16000)] == [0, 0, 1, 1, 2, 49]
    with pytest.raises(ValueError, match="399 samples is too short: one frame needs 400"):
        front(Padded(torch.zeros(1, 399), torch.tensor([399])))


@pytest.mark.parametrize(("kind", "normalized"), [("wav2vec2", False), ("wav2vec2 large", True)])
def test_without_a_preprocessor_the_front_end_tells_whether_waveforms_are_normalised(
    kind, normalized, tmp_path
):
    speech_model(kind, tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    assert load(tmp_path).frontend.normalize_waveform is normalized
    (tmp_path / "processor_config.json").write_text(
        f'{{"feature_extractor": {{"do_normalize": {str(not normalized).lower()}}}}}'
    )
    assert load(tmp_path).frontend.normalize_waveform is not normalized


def test_untrained_models_have_other_weights(tmp_path, batch):
    speech_model("hubert", tmp_path)
    torch.manual_seed(0)
    one, two = (load(tmp_path, untrained=untrained).features(batch) for untrained in (True, False))
    assert one["layer_1"].values.shape == two["layer_1"].values.shape
    assert (one["layer_1"].values - two["layer_1"].values).abs().mean() > 0.1


@few
@pytest.mark.parametrize(("precision", "most"), [("bf16", 0.05), ("int8", 0.1)])
def test_other_precisions_are_near(kind, precision, most, batch, tmp_path):
    if precision == "int8" and not has_vnni():
        pytest.skip("a processor without VNNI")
    speech_model(kind, tmp_path)
    upstream, found = load(tmp_path), {}
    for name in ("fp32", precision):
        model, computing = prepared(upstream, name, torch.device("cpu"))
        with computing():
            found[name] = model.features(batch)["layer_1"].values.float()
    error = (found[precision] - found["fp32"]).norm() / found["fp32"].norm()
    assert 0 < error < most
