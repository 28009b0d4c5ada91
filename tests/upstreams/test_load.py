"""Guards folders of published models: what is no model, not whole or not safe is told in one line."""

import json
import pickle
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import speech_model

from sonorant.config import ConfigError
from sonorant.upstreams.load import load


@pytest.fixture
def folder(tmp_path):
    speech_model("wav2vec2", tmp_path)
    return tmp_path


def refused(folder):
    with pytest.raises(ConfigError) as error:
        load(folder)
    (line,) = str(error.value).splitlines()
    assert line.startswith(str(folder))
    return line


def test_what_is_no_model_is_told_with_what_is_expected(tmp_path):
    assert (
        "found no folder; expected a run with its step_ folders; config.json with a model_type of wav2vec2,"
        in refused(tmp_path / "x")
    )
    assert "found nothing; expected" in refused(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    line = refused(tmp_path)
    assert "found config.json, model_type 'bert'; expected" in line
    assert all(each in line for each in ("hubert", "wavlm", "data2vec-audio", "whisper", "model.bin"))
    (tmp_path / "config.json").write_text("{")
    assert "config.json: cannot be read" in refused(tmp_path)


def test_weights_have_to_be_there_and_to_fit(folder):
    file = folder / "model.safetensors"
    weights = load_file(file)
    file.write_bytes(file.read_bytes()[:-100])
    assert "cannot be loaded" in refused(folder)
    few = {name: value for name, value in weights.items() if "layers.1.attention" not in name}
    save_file(few, file, {"format": "pt"})
    assert "weights are missing or of another shape: encoder.layers.1.attention." in refused(folder)
    settings = json.loads((folder / "config.json").read_text())
    save_file(weights, file, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(settings | {"intermediate_size": 40}))
    assert "another shape: encoder.layers.0.feed_forward.intermediate_dense.bias" in refused(folder)
    (folder / "config.json").write_text(json.dumps(settings | {"num_attention_heads": 5}))
    assert "cannot be loaded" in refused(folder)
    file.unlink()
    assert "has no weights (expected model.safetensors or pytorch_model.bin)" in refused(folder)


class Trap:
    """What runs code when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


def test_pickled_weights_are_read_and_run_nothing(folder):
    file, sprung = folder / "pytorch_model.bin", folder / "sprung"
    wave = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0))
    expected = load(folder).model(wave).last_hidden_state
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, file)
    assert torch.equal(load(folder).model(wave).last_hidden_state, expected)
    torch.save({**weights, "trap": Trap(sprung)}, file)
    assert "cannot be loaded" in refused(folder)
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung))).close()
    assert sprung.exists()  # the trap is one


def test_another_rate_is_refused(folder):
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sampling_rate": 8000}))
    assert "made for 8000 samples a second; only 16000 are supported" in refused(folder)


def test_the_extra_is_named_where_it_is_missing(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "is read by the package transformers (pip install 'sonorant[hf]')" in refused(folder)


def test_nothing_is_printed(folder, capfd):
    speech_model("wav2vec2 for CTC", folder)
    capfd.readouterr()
    load(folder)
    assert capfd.readouterr() == ("", "")
