"""Guards label masks: their rates, that seeds alone decide, and that training alone meets them."""

from pathlib import Path

import numpy as np
import pytest

from sonorant.config import ConfigError, convert
from sonorant.data.dataset import DataConfig, Dataset
from sonorant.data.label_masks import LabelMaskConfig, label_weights
from sonorant.data.manifest import read

CLIPS = read(Path(__file__).parents[1] / "fixtures" / "speech" / "manifest.jsonl")
SURE = [0.0, 0.2, 0.5, 0.9, 1.0]


def shares(many=3000, **settings):
    """How often each of five labels is hidden."""
    config = LabelMaskConfig(**settings)
    return 1 - np.mean([label_weights(SURE, config, seed) for seed in range(many)], axis=0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"kind": "conf"}, [1, 0.8, 0.5, 0.1, 0]),
        ({"kind": "conf", "scale": 2.0}, [1, 1, 1, 0.2, 0]),
        ({"kind": "conf", "scale": 0.5}, [0.5, 0.4, 0.25, 0.05, 0]),
        ({"kind": "rand", "rate": 0.3}, [0.3] * 5),
    ],
)
def test_as_many_labels_are_hidden_as_their_probabilities_say(settings, expected):
    assert shares(**settings) == pytest.approx(expected, abs=0.035)


def test_a_threshold_hides_what_is_below_it_and_none_hides_nothing():
    assert shares(9, kind="thres", threshold=0.5).tolist() == [1, 1, 0, 0, 0]
    assert shares(9, kind="none").tolist() == [0] * 5
    with pytest.raises(ConfigError, match="kind"):
        convert({"kind": "confidence"}, LabelMaskConfig)


def test_the_seed_alone_decides():
    config = LabelMaskConfig(kind="conf")
    assert label_weights([0.5] * 50, config, 4) == label_weights([0.5] * 50, config, 4)
    assert label_weights([0.5] * 50, config, 4) != label_weights([0.5] * 50, config, 5)
    whole = label_weights([0.5] * 50, config, 4)
    assert label_weights([0.5] * 20, config, 4) == whole[:20]


def test_a_clip_meets_the_same_mask_in_a_resumed_epoch_another_in_the_next_and_none_in_evaluation():
    config = DataConfig(manifest="all.jsonl", batch_seconds=6.0, crop_seconds=None, workers=0)
    mask = LabelMaskConfig(kind="rand", rate=0.5)
    dataset = Dataset(
        CLIPS[:12],
        config,
        lambda clip: [1] * 9,
        weigh=lambda clip, seed: label_weights([1.0] * 9, mask, seed),
    )

    def masks(epoch, start=0):
        batches = dataset.batches(5, epoch, start=start)
        return [
            {name: row.tolist() for name, row in zip(batch.ids, batch.weights, strict=True)}
            for batch in batches
        ]

    first = masks(0)
    assert len(first) > 2
    assert masks(0, 2) == first[2:]
    every, other = (
        {name: row for batch in each for name, row in batch.items()} for each in (first, masks(1))
    )
    assert every.keys() == other.keys()
    assert sum(every[name] == other[name] for name in every) <= 1
    assert np.mean(list(every.values())) == pytest.approx(0.5, abs=0.15)
    assert all(batch.weights is None and batch.kind is None for batch in dataset.in_order())
