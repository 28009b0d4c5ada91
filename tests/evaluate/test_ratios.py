"""Guards rates of whole test sets: a ratio of sums, an interval over what is independent, a fair score."""

import pytest
import torch

from sonorant.data.manifest import Clip
from sonorant.evaluate.ratios import groups, rate
from sonorant.evaluate.sampling import SamplingError
from sonorant.evaluate.superb import superb_scores


def clips(count, speakers=None):
    return [
        Clip(f"c{n}", "x.wav", speaker=None if speakers is None else f"s{n % speakers}") for n in range(count)
    ]


def test_long_clips_count_for_more():
    found = rate("wer", torch.tensor([1.0, 0.0, 6.0]), torch.tensor([1.0, 9.0, 10.0]), clips(3))
    assert found.value == pytest.approx(7 / 20)
    assert found.low <= found.value <= found.high
    assert (found.n, found.over) == (3, "clips")


def test_the_interval_is_over_speakers_from_ten_on():
    assert groups(clips(40, 9))[1] == "clips"
    assert groups(clips(40, 10))[1] == "speakers"
    assert groups([*clips(40, 10), Clip("x", "x.wav")])[1] == "clips"
    # a speaker is right always or never: clips are then worth no more than speakers
    right = torch.tensor([float(n % 10 < 5) for n in range(400)])
    narrow = rate("accuracy", right, torch.ones(400), clips(400))
    wide = rate("accuracy", right, torch.ones(400), clips(400, 10))
    assert (narrow.value, wide.value) == (0.5, 0.5)
    assert wide.n == 10
    assert wide.high - wide.low > 4 * (narrow.high - narrow.low)
    # binomial: 1.96 * sqrt(0.25 / 400) on either side
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 * 0.025, rel=0.15)


def test_nothing_to_count_is_an_error():
    with pytest.raises(SamplingError, match="wer: 2 clips with nothing to count"):
        rate("wer", torch.zeros(2), torch.zeros(2), clips(2))


def test_superbs_score_goes_from_the_baseline_to_the_best():
    values = {
        "ks": {"log-mel": 0.4, "a": 0.9, "b": 0.65},
        "asr": {"log-mel": 0.8, "a": 0.6, "b": 0.4},
        "er": {"log-mel": 0.6, "a": 0.5, "b": 0.4},
    }
    scores, without = superb_scores(values, {"ks": True, "asr": False, "er": True}, baseline="log-mel")
    assert without == ("er",)  # nothing is better than log-mel
    assert scores == pytest.approx({"log-mel": 0, "a": (1000 + 500) / 2, "b": (500 + 1000) / 2})
    del values["asr"]["b"]
    assert "b" not in superb_scores(values, {"ks": True, "asr": False, "er": True}, baseline="log-mel").scores
    assert superb_scores(values, {"ks": True, "asr": False, "er": True}, baseline="x").scores == {}
