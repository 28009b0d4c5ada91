"""Guards the features of a benchmark: computed once a clip, in stores that an interruption leaves whole."""

import shutil

import msgspec
import pytest
import torch

from sonorant.config import ConfigError
from sonorant.data.manifest import read
from sonorant.evaluate.store import FeatureStore
from sonorant.recipes.benching import features as module
from sonorant.recipes.benching.features import features, key
from sonorant.recipes.benching.upstream import fingerprint, upstreams
from sonorant.recipes.features import extract, log_mel


@pytest.fixture
def clips(speech, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 6.0)
    return list(read(speech))[::6]


def stores(folder):
    return {path.name: FeatureStore(path).ids for path in sorted(folder.glob("*/*"))}


def test_what_is_there_is_kept_and_what_is_missing_is_added(clips, tmp_path):
    first = features(log_mel(), "mel", clips[:12], tmp_path, precision="fp32")
    before = stores(tmp_path)
    assert len(before) > 2
    assert sorted(name for ids in before.values() for name in ids) == sorted(key(clip) for clip in clips[:12])
    last = max(before)
    shutil.rmtree(tmp_path / "mel-fp32" / last)  # as if it had been interrupted there
    again = features(log_mel(), "mel", clips, tmp_path, precision="fp32")
    after = stores(tmp_path)
    assert {name: after[name] for name in before if name != last} == {
        name: ids for name, ids in before.items() if name != last
    }
    assert sum(map(len, after.values())) == len(clips)
    extract(log_mel(), clips, tmp_path / "whole", provenance={}, precision="fp32")
    whole = FeatureStore(tmp_path / "whole")
    for clip, frames in zip(clips, again.read(clips), strict=True):
        (expected,) = whole.read("frontend", [clip.id])
        torch.testing.assert_close(frames[0], expected, rtol=2**-10, atol=1e-4)  # float16, other padding
        assert again.length(clip) == len(expected)
    assert torch.equal(first.read(clips[:1])[0], again.read(clips[:1])[0])
    assert torch.equal(again.layer("frontend", clips[3:4])[0], again.read(clips[3:4])[0][0])


def test_other_audio_is_other_features_and_other_labels_are_not(clips, tmp_path):
    clip = clips[0]
    path = tmp_path / "copy.flac"
    shutil.copyfile(clip.path, path)
    copied = msgspec.structs.replace(clip, path=str(path))
    assert key(copied) != key(clip)
    assert key(msgspec.structs.replace(copied, samples=copied.samples - 100)) != key(copied)
    assert key(msgspec.structs.replace(copied, labels={"keyword": "a"}, text="b")) == key(copied)
    before = key(copied)
    shutil.copyfile(clips[1].path, path)
    assert key(copied) != before
    path.unlink()
    with pytest.raises(ConfigError, match=r"copy\.flac: cannot be read"):
        key(copied)


def test_models_are_told_apart_by_their_weights_and_settings(pretrained):
    words = ["log-mel", "mfcc", f"{pretrained}", f"untrained:{pretrained}", f"x={pretrained}"]
    found = upstreams(words)
    assert [each.name for each in found] == ["log-mel", "mfcc", "pretrained", "pretrained, untrained", "x"]
    prints = [fingerprint(each, each.load()) for each in found]
    assert len(set(prints)) == 4
    assert prints[2] == prints[4]
    assert prints[3] == fingerprint(found[3], found[3].load())
