"""Guards the feature store: what goes in comes out, in order, and a store is there whole or not at all."""

import pytest
import torch
from safetensors.torch import save_file

from sonorant.evaluate import store as store_module
from sonorant.evaluate.store import FeatureStore, FeatureWriter, StoreError


def writer(path, **settings):
    settings = {"frame_seconds": 0.04, "first_centre": 0.02, "provenance": {"run": "x", "step": 3}} | settings
    return FeatureWriter(path, **settings)


def features(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        f"ütt/{number}": {
            "log_mel": torch.randn(length, 5, generator=generator),
            "layer_1": 100 * torch.randn(length, 3, generator=generator),
        }
        for number, length in enumerate(lengths)
    }


@pytest.mark.parametrize("shard_bytes", [1, 200, 2**20])
def test_round_trip_whatever_the_size_of_a_shard(tmp_path, shard_bytes):
    written = features([7, 1, 0, 30, 12])
    with writer(tmp_path / "f", shard_bytes=shard_bytes) as store:
        for name, layers in written.items():
            store.add(name, layers)
    read = FeatureStore(tmp_path / "f")
    assert read.ids == tuple(written)
    assert read.dims == {"log_mel": 5, "layer_1": 3}
    assert (read.layers, read.frame_seconds, read.provenance) == (
        ("log_mel", "layer_1"),
        0.04,
        {"run": "x", "step": 3},
    )
    assert read.centre(2) == pytest.approx(0.1)
    for layer in read.layers:
        for name, frames in zip(read.ids, read.read(layer, read.ids), strict=True):
            assert frames.dtype == torch.float32
            torch.testing.assert_close(frames, written[name][layer], rtol=2**-11, atol=1e-6)


@pytest.mark.parametrize("shard_bytes", [1, 200, 2**20])
def test_utterances_are_read_alone_and_in_any_order(tmp_path, shard_bytes):
    written = features([7, 1, 0, 30, 12])
    with writer(tmp_path / "f", shard_bytes=shard_bytes) as store:
        for name, layers in written.items():
            store.add(name, layers)
    read = FeatureStore(tmp_path / "f")
    assert read.lengths == {name: len(layers["log_mel"]) for name, layers in written.items()}
    names = ["ütt/4", "ütt/0", "ütt/2", "ütt/3"]
    for layer in read.layers:
        whole = dict(zip(read.ids, read.read(layer, read.ids), strict=True))
        for name, frames in zip(names, read.read(layer, names), strict=True):
            assert torch.equal(frames, whole[name])
    assert read.nearest(torch.tensor([0.02, 0.039, 0.04, 0.1, 1.0])).tolist() == [0, 0, 1, 2, 25]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupted():
        with writer(tmp_path / "f", shard_bytes=1) as store:
            store.add("a", features([4])["ütt/0"])
            assert list(tmp_path.glob("f.partial/*.safetensors"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_no_store_and_in_nobodys_way(tmp_path):
    dead = writer(tmp_path / "f", shard_bytes=1).__enter__()
    dead.add("a", features([4])["ütt/0"])
    with pytest.raises(StoreError, match="is this a feature store"):
        FeatureStore(tmp_path / "f")
    with writer(tmp_path / "f") as store:
        store.add("b", features([2])["ütt/0"])
    assert FeatureStore(tmp_path / "f").ids == ("b",)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"log_mel": torch.ones(3, 5)}, "layers log_mel"),
        ({"log_mel": torch.ones(3, 5), "layer_1": torch.ones(3, 4)}, r"layer_1 \(4\)"),
        ({"log_mel": torch.ones(3, 5), "layer_1": torch.ones(4, 3)}, "different numbers of frames"),
        (
            {"log_mel": torch.ones(3, 5), "layer_1": torch.full((3, 3), torch.nan)},
            "not finite or beyond 65504",
        ),
        ({"log_mel": torch.full((3, 5), 7e4), "layer_1": torch.ones(3, 3)}, "not finite or beyond 65504"),
    ],
)
def test_an_utterance_that_does_not_fit_is_named(tmp_path, layers, message):
    with writer(tmp_path / "f") as store:
        store.add("good", features([4])["ütt/0"])
        with pytest.raises(StoreError, match=message):
            store.add("bad", layers)
        with pytest.raises(StoreError, match="good: comes twice"):
            store.add("good", features([4])["ütt/0"])
    assert FeatureStore(tmp_path / "f").ids == ("good",)


def test_writing_over_a_store_and_writing_nothing_are_refused(tmp_path):
    with writer(tmp_path / "f") as store:
        store.add("a", features([4])["ütt/0"])
    with pytest.raises(StoreError, match="exists already"):
        writer(tmp_path / "f")
    with pytest.raises(StoreError, match="no utterance was added"), writer(tmp_path / "g"):
        pass
    assert not (tmp_path / "g").exists()


def test_damage_is_named(tmp_path):
    with writer(tmp_path / "f") as store:
        store.add("a", features([4])["ütt/0"])
    read = FeatureStore(tmp_path / "f")
    with pytest.raises(StoreError, match="no layer 'layer_9', there are log_mel, layer_1"):
        read.read("layer_9", read.ids)
    shard = tmp_path / "f" / "layer_01-00000.safetensors"
    save_file({"frames": torch.ones(3, 3, dtype=torch.float16)}, shard)
    with pytest.raises(StoreError, match=r"layer_1 of a has shape \(3, 3\), the index says \(4, 3\)"):
        read.read("layer_1", ["a"])
    save_file({"frames": torch.ones(5, 3, dtype=torch.float16)}, shard)
    with pytest.raises(StoreError, match=r"layer_01-00000.*has 5 frames, the index says 4"):
        read.read("layer_1", ["a"])
    shard.write_bytes(shard.read_bytes()[:20])
    with pytest.raises(StoreError, match=r"layer_01-00000.*cannot be read"):
        read.read("layer_1", ["a"])
    header = tmp_path / "f" / "features.json"
    header.write_text(header.read_text().replace('"version": 1', '"version": 9'))
    with pytest.raises(StoreError, match="version 9, this code reads 1"):
        FeatureStore(tmp_path / "f")
    header.write_text("{")
    with pytest.raises(StoreError, match=r"features\.json"):
        FeatureStore(tmp_path / "f")


def test_frames_are_picked_out_of_utterances(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "CHUNK", 2)
    written = features([7, 1, 0, 30, 12])
    with writer(tmp_path / "f", shard_bytes=200) as store:
        for name, layers in written.items():
            store.add(name, layers)
    read = FeatureStore(tmp_path / "f")
    places = {"ütt/3": [29, 0], "ütt/2": [], "ütt/0": [6], "ütt/4": [3, 3]}
    picked = read.pick("layer_1", {name: torch.tensor(each).long() for name, each in places.items()})
    (last, whole, first) = read.read("layer_1", ["ütt/3", "ütt/0", "ütt/4"])
    assert torch.equal(picked, torch.stack([last[29], last[0], whole[6], first[3], first[3]]))
