"""Guards memory: what measures features reads few utterances at once, and no figure depends on how many."""

import pytest
import torch

from sonorant.data.manifest import Clip
from sonorant.evaluate import rank as rank_module
from sonorant.evaluate import store as store_module
from sonorant.evaluate.clusters import match
from sonorant.evaluate.information import InformationConfig, label_free, labelled
from sonorant.evaluate.items import items
from sonorant.evaluate.linear import ProbeConfig
from sonorant.evaluate.probe import probe
from sonorant.evaluate.rank import rank
from sonorant.evaluate.store import FeatureStore, FeatureWriter

QUICK = ProbeConfig(updates=20, checks=2, learning_rates=(3e-2,))
SCORE = InformationConfig(codes=4, gap=0.08, updates=20, checks=2, learning_rates=(3e-2,))


@pytest.mark.parametrize(
    "figure",
    [
        lambda store, clips: label_free(store, "z", SCORE).bound,
        lambda store, clips: labelled(store, "z", clips, QUICK).bound,
        lambda store, clips: probe(store, "z", clips, QUICK).accuracy,
        lambda store, clips: match(store, "z", clips, 3).pnmi,
        lambda store, clips: round(rank(store, "z").rankme.value, 9),
        lambda store, clips: items(store, "z", clips, kind="any", limit=2).frames.sum(),
    ],
    ids=["label-free", "labelled", "probe", "clusters", "rank", "items"],
)
def test_a_figure_reads_few_utterances_at_once(tmp_path, monkeypatch, figure):
    generator = torch.Generator().manual_seed(0)
    with FeatureWriter(
        tmp_path / "f", frame_seconds=0.04, first_centre=0.02, provenance={}, shard_bytes=2000
    ) as writer:
        for number in range(20):
            writer.add(f"{number:02d}", {"z": torch.randn(60, 3, generator=generator)})
    store = FeatureStore(tmp_path / "f")
    units = [(label, 0.4 * place, 0.4 * (place + 1)) for place, label in enumerate("abcabc")]
    clips = [Clip(name, "x.wav", speaker=name[1], units=units) for name in store.ids]
    expected, most = figure(store, clips), []

    def spy(self, layer, names):
        most.append(len(names))
        return original(self, layer, names)

    original = FeatureStore.read
    monkeypatch.setattr(FeatureStore, "read", spy)
    monkeypatch.setattr(store_module, "CHUNK", 3)
    monkeypatch.setattr(rank_module, "BATCH", 3 * 60)
    assert figure(store, clips) == expected
    assert max(most) <= 3
