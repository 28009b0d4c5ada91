"""Guards PNMI and purities: closed forms, a slow reference, and frames that tell phones or do not."""

import math

import pytest
import torch

from sonorant.data.manifest import Clip
from sonorant.evaluate.clusters import _with_intervals, corrected_pnmi, figures, joint, match
from sonorant.evaluate.labels import LabelError
from sonorant.evaluate.sampling import Parts
from sonorant.evaluate.store import FeatureStore, FeatureWriter

NAMES = tuple(f"u{number}" for number in range(24))
PARTS = Parts(train=NAMES[:12], validation=NAMES[12:14], test=NAMES[14:])


def slow(phones, codes):
    """From the definitions, pair by pair."""
    n = len(phones)
    pairs = list(zip(phones, codes, strict=True))
    p = {pair: pairs.count(pair) / n for pair in set(pairs)}
    py = {y: phones.count(y) / n for y in set(phones)}
    pz = {z: codes.count(z) / n for z in set(codes)}
    information = sum(value * math.log(value / (py[y] * pz[z])) for (y, z), value in p.items())
    entropy = -sum(value * math.log(value) for value in py.values())
    phone_purity = sum(pz[z] * max(p.get((y, z), 0) / pz[z] for y in py) for z in pz)
    cluster_purity = sum(py[y] * max(p.get((y, z), 0) / py[y] for z in pz) for y in py)
    return information / entropy, phone_purity, cluster_purity


@pytest.mark.parametrize(
    ("phones", "codes", "expected"),
    [
        ([0, 1, 2, 0], [2, 0, 1, 2], (1, 1, 1)),  # other names for the same thing
        ([0, 0, 1, 1], [0, 1, 2, 3], (1, 1, 0.5)),  # a cluster for each frame
        ([0, 0, 0, 1], [0, 0, 0, 0], (0, 0.75, 1)),  # one cluster for all
        ([0, 1, 0, 1], [0, 0, 1, 1], (0, 0.5, 0.5)),  # independent
        ([3, 3], [0, 1], (0, 1, 0.5)),  # a single phone has nothing to tell
    ],
)
def test_closed_forms(phones, codes, expected):
    assert figures(joint(torch.tensor(phones), torch.tensor(codes))) == pytest.approx(expected, abs=1e-12)


def test_a_table_of_frequencies_is_what_the_loops_say():
    generator = torch.Generator().manual_seed(0)
    phones = torch.randint(6, (150,), generator=generator)
    codes = (phones * 2 + torch.randint(3, (150,), generator=generator)) % 9
    assert figures(joint(phones, codes)) == pytest.approx(slow(phones.tolist(), codes.tolist()))


def test_intervals_are_as_wide_as_the_figures_scatter_over_corpora():
    """Of 60 utterances of 20 frames, drawn again and again: 95 % of the intervals hold the corpora's mean."""
    generator = torch.Generator().manual_seed(2)
    owners = torch.arange(60).repeat_interleave(20)
    found = []
    for _ in range(60):
        phones = torch.randint(3, (1200,), generator=generator)
        clear = torch.rand(60, generator=generator)[owners] < 0.5  # half of the utterances are hopeless
        codes = torch.where(clear, phones, torch.randint(3, (1200,), generator=generator))
        found.append(_with_intervals(phones, codes, owners))
    for figure in zip(*found, strict=True):
        mean = sum(each.value for each in figure) / 60
        held = sum(each.low <= mean <= each.high for each in figure) / 60
        assert 0.85 <= held <= 1
        deviation = torch.tensor([each.value for each in figure]).std().item()
        half = sum(each.high - each.low for each in figure) / 120
        assert half == pytest.approx(1.96 * deviation, rel=0.35)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    generator = torch.Generator().manual_seed(1)
    spoken = torch.randint(4, (24, 60), generator=generator)
    path = tmp_path_factory.mktemp("speech") / "f"
    with FeatureWriter(path, frame_seconds=0.02, first_centre=0.01, provenance={}) as writer:
        for name, row in zip(NAMES, spoken, strict=True):
            useful = torch.eye(4)[row] + 0.01 * torch.randn(len(row), 4, generator=generator)
            writer.add(name, {"useful": useful, "noise": torch.randn(len(row), 4, generator=generator)})
    clips = [
        Clip(
            id=name,
            path="x",
            units=[("aeio"[each], 0.02 * at, 0.02 * (at + 1)) for at, each in enumerate(row.tolist())],
        )
        for name, row in zip(NAMES, spoken, strict=True)
    ]
    return FeatureStore(path), clips


def test_the_correction_takes_most_of_the_excess_away():
    """Labels that have nothing to do with each other share nothing; a table of few frames says otherwise."""
    generator = torch.Generator().manual_seed(3)
    plain, better = 0.0, 0.0
    for _ in range(20):
        phones = torch.randint(8, (600,), generator=generator)
        codes = torch.randint(20, (600,), generator=generator)
        shares = joint(phones, codes)
        plain += figures(shares)[0] / 20
        better += corrected_pnmi(shares, 600) / 20
    assert plain > 0.045
    assert abs(better) < plain / 5
    phones, codes = torch.arange(200) % 4, torch.arange(200) // 4 % 2  # all eight cells alike
    expected = (3 + 1 - 7) / 400 / (math.log(4) + 3 / 400)
    assert corrected_pnmi(joint(phones, codes), 200) == pytest.approx(expected)


def test_clusters_of_frames_that_tell_phones_match_and_those_of_noise_do_not(speech):
    store, clips = speech
    found = match(store, "useful", clips, 4, parts=PARTS)
    assert (found.clusters, found.test_frames, found.test_utterances) == (4, 600, 10)
    for figure in (found.pnmi, found.phone_purity, found.cluster_purity):
        assert (figure.value, figure.low, figure.high) == pytest.approx((1, 1, 1))
    assert abs(found.shuffled) < 0.03
    assert found.corrected.value == pytest.approx(1, abs=0.01)
    noise = match(store, "noise", clips, 4, parts=PARTS)
    assert noise.corrected.value < noise.pnmi.value
    assert noise.pnmi.value < 0.05
    assert noise.phone_purity.low <= noise.phone_purity.value <= noise.phone_purity.high < 0.45


def test_clips_without_units_are_refused(speech):
    with pytest.raises(LabelError, match="no utterance has units"):
        match(speech[0], "noise", [Clip(id="u0", path="x")], 4)
