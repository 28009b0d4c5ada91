"""Guards published models in the place of a run: extracted, cut where they must be, scored, with controls."""

import msgspec
import numpy as np
import pytest
import soundfile
import torch
from tiny_models import SECONDS, speech_model, whisper_model

from sonorant.config import ConfigError
from sonorant.data.audio import load as load_audio
from sonorant.data.manifest import Clip, read
from sonorant.evaluate.store import FeatureStore, section_bounds
from sonorant.recipes import long
from sonorant.recipes.features import extract
from sonorant.recipes.upstream import load_upstream
from sonorant.types import pad

LAYERS = ("frontend", "input", "layer_0", "layer_1")


@pytest.fixture(scope="module")
def folders(place):
    speech_model("hubert", place / "hubert")
    whisper_model(place / "whisper")
    return {name: place / name for name in ("hubert", "whisper")}


each = pytest.mark.parametrize("name", ["hubert", "whisper"])


def stored(folder, layer="layer_1"):
    store = FeatureStore(folder)
    return dict(zip(store.ids, store.read(layer, store.ids), strict=True))


@each
def test_a_folder_is_extracted_as_a_run_is(name, folders, few, clip, tmp_path, sonorant):
    out, folder = tmp_path / "features", folders[name]
    done = sonorant("extract", folder, few, "--out", out, "--precision", "fp32", "-q")
    assert (done.code, done.out) == (0, f"{out}: features of 40 clips\n")
    store = FeatureStore(out)
    assert (store.layers, store.frame_seconds, store.sees_future) == (LAYERS, 0.02, True)
    assert store.first_centre == {"hubert": 0.0125, "whisper": 0.02}[name]
    assert store.provenance["checkpoint"] == str(folder)
    wave = pad([torch.from_numpy(load_audio(clip, 16000))])
    with torch.no_grad():
        expected = load_upstream(folder).features(wave)["layer_1"].values[0]
    found = stored(out)[clip.id]
    assert found.shape == expected.shape
    assert (found - expected).norm() / expected.norm() < 0.01  # half precision, and audio in 16 bits
    line = sonorant("measure", out, "--layer", "layer_1").line
    assert "its frames have seen the audio that they would predict" in line


@each
def test_sections_are_scored_beside_controls(name, folders, few, tmp_path, sonorant):
    out = tmp_path / "features"
    words = ["extract", folders[name], few, "--to-score", "--layer", "layer_1", "--out", out, "-q"]
    assert sonorant(*words).code == 0
    store, targets = FeatureStore(out), FeatureStore(out / "targets")
    assert (store.section, store.layers, store.sees_future) == (25, ("layer_1",), False)
    assert (targets.section, targets.layers) == (None, ("frontend",))
    done = sonorant("measure", out, "--controls", "--codes", "8", "--json")
    assert done.code == 0, done.err
    told = {row["subject"] for row in done.json if row["metric"] == "nats"}
    assert {f"features {each}" for each in ("layer_1", "layer_1, untrained", "log-mel")} <= told


@each
def test_no_frame_sees_beyond_its_section(name, folders, clip, tmp_path):
    upstream = load_upstream(folders[name])
    words = {"provenance": {}, "sections": 0.4, "precision": "fp32"}
    extract(upstream, [clip], tmp_path / "before", **words)
    store, before = FeatureStore(tmp_path / "before"), stored(tmp_path / "before")[clip.id]
    start, end = section_bounds(len(before), store.section)[1:3]
    wave, rate = soundfile.read(clip.path)
    last = store.centre(end - 1) + store.first_centre  # seconds, where the second section ends
    wave[round(last * rate) :] *= -0.5
    soundfile.write(tmp_path / "other.flac", wave, rate)
    other = msgspec.structs.replace(clip, path=str(tmp_path / "other.flac"))
    extract(upstream, [other], tmp_path / "after", **words)
    same = (before == stored(tmp_path / "after")[clip.id]).all(1)
    assert 0 < start < end < len(before)
    assert same[:end].all()
    assert not same[end:].any()


def test_whisper_meets_long_clips_in_stretches(folders, speech, tmp_path, monkeypatch):
    monkeypatch.setattr(long, "MARGIN", 0.5)
    samples = np.concatenate([load_audio(clip, 16000) for clip in read(speech)[:8]])[: round(9.7 * 16000)]
    soundfile.write(tmp_path / "long.flac", samples, 16000)
    clip = Clip(id="long", path=str(tmp_path / "long.flac"), start=0, samples=len(samples), rate=16000)
    upstream = load_upstream(folders["whisper"])
    extract(upstream, [clip], tmp_path / "long", provenance={}, precision="fp32")
    found = stored(tmp_path / "long")["long"]
    assert len(found) == upstream.front().frames(len(samples)) == 484
    size, hop, margin = SECONDS * 50, SECONDS * 50 - 50, 25  # frames
    for number, first in enumerate(range(0, 450, hop)):
        stretch = torch.from_numpy(samples[first * 320 : (first + size) * 320])
        with torch.no_grad():
            expected = upstream.features(pad([stretch]))["layer_1"].values[0]
        inside = slice(margin if number else 0, min(size - margin, len(expected)))
        kept = found[first:][inside]
        assert (kept - expected[inside]).abs().max() < 0.01
    with pytest.raises(
        ConfigError, match=r"sections: 3\.0 s are too long for a network of 4 s, which hears 2 s"
    ):
        extract(upstream, [clip], tmp_path / "x", provenance={}, sections=3.0)


def test_what_is_neither_is_told_in_one_line(few, tmp_path, sonorant):
    done = sonorant("extract", tmp_path, few, "--out", tmp_path / "features")
    assert done.code == 2
    assert done.line.startswith(f"sonorant: {tmp_path}: ")
    assert "step_" in done.line
    assert "model_type" in done.line
