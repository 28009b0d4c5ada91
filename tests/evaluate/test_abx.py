"""Guards ABX: cases whose answer is known, which items are cut out and compared, and what intervals say."""

import math
from dataclasses import replace

import pytest
import torch

from sonorant.data.manifest import Clip
from sonorant.evaluate.abx import abx
from sonorant.evaluate.dtw import DistanceError, sequences
from sonorant.evaluate.items import Items, items, spans
from sonorant.evaluate.labels import LabelError
from sonorant.evaluate.sampling import SamplingError
from sonorant.evaluate.store import FeatureStore, FeatureWriter


def made_up(*, spread=0.0, count=300, labels=3, voices=2, clips=20, longest=4, apart=True, seed=0):
    """Items whose frames are their label's axis, or one axis for all, and noise."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (count,), generator=generator)
    label = torch.arange(count) % labels
    axes = torch.eye(labels, 5)[label if apart else torch.zeros_like(label)]
    frames = axes.repeat_interleave(lengths, 0)
    return Items(
        frames=frames + spread * torch.randn(frames.shape, generator=generator),
        lengths=lengths,
        labels=label,
        contexts=torch.randint(2, (count,), generator=generator),
        speakers=torch.randint(voices, (count,), generator=generator),
        clips=torch.randint(clips, (count,), generator=generator),
        names=tuple("abcde"[:labels]),
        voices=tuple(f"s{number}" for number in range(voices)),
        unknown=0,
    )


def without(found: Items, drop: torch.Tensor) -> Items:
    """The items that are not dropped."""
    keep = ~drop
    parts = found.frames.split(found.lengths.tolist())
    kept = [part for part, stays in zip(parts, keep.tolist(), strict=True) if stays]
    marks = ("lengths", "labels", "contexts", "speakers", "clips")
    return replace(found, frames=torch.cat(kept), **{name: getattr(found, name)[keep] for name in marks})


@pytest.mark.parametrize("speakers", ["within", "across"])
def test_separated_phones_have_no_error_and_equal_ones_chance(speakers):
    assert abx(made_up(spread=0.01), speakers=speakers).error == 0
    same = abx(made_up(spread=0.5, apart=False), speakers=speakers)
    assert same.low < 0.5 < same.high
    assert 0.01 < same.high - same.low < 0.2
    assert abx(made_up(apart=False), speakers=speakers).error == 0.5  # every comparison is a tie


def test_an_error_counts_what_is_compared():
    found = made_up(count=8, labels=2, voices=1, spread=0.1)
    result = abx(replace(found, contexts=torch.zeros(8, dtype=torch.long)))
    assert (result.items, result.cells, result.triples) == (8, 2, 2 * 4 * 3 * 4)
    assert set(result.pairs) == {("a", "b"), ("b", "a")}


def test_items_of_one_frame_have_the_plain_distance():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(9, 4, generator=generator)
    every = torch.arange(9)
    ones = torch.ones(9, dtype=torch.long)
    unit = torch.nn.functional.normalize(frames.double())
    angles = (unit @ unit.T).clamp(-1, 1).acos() / math.pi
    found = sequences(frames, ones, "angular").between(every, every)
    torch.testing.assert_close(found.double(), angles, atol=2e-8, rtol=1e-6)
    plain = torch.cdist(frames.double(), frames.double())
    found = sequences(frames, ones, "euclidean").between(every, every).double()
    torch.testing.assert_close(found * plain.max() / found.max(), plain, atol=1e-6, rtol=1e-6)


def test_scale_and_silence():
    frames = torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.0, 0.0], [0.0, 2.0], [-3.0, 0.0], [0.0, 0.0]])
    every = torch.arange(6)
    found = sequences(frames, torch.ones(6, dtype=torch.long), "angular").between(every, every)
    assert found[0].tolist() == pytest.approx([0, 0, 1, 0.5, 1, 1], abs=1e-6)
    assert found[2].tolist() == [1, 1, 0, 1, 1, 0]


def test_distances_refuse_what_they_are_not_defined_for():
    lengths = torch.tensor([2, 1])
    with pytest.raises(DistanceError, match="not probabilities"):
        sequences(torch.randn(3, 4), lengths, "kl")
    with pytest.raises(DistanceError, match="not probabilities"):
        sequences(torch.full((3, 4), 0.3), lengths, "kl")
    with pytest.raises(DistanceError, match="has 1025 frames"):
        sequences(torch.zeros(1025, 1), torch.tensor([1025]), "angular")


@pytest.mark.parametrize("speakers", ["within", "across"])
@pytest.mark.parametrize(("voices", "over", "n"), [(2, "clips", 30), (10, "speakers", 10)])
def test_intervals_are_those_of_leaving_out(speakers, voices, over, n):
    found = made_up(spread=0.6, count=400, voices=voices, clips=30, longest=1, seed=2)
    result = abx(found, speakers=speakers)
    assert (result.over, result.n) == (over, n)
    units = found.clips if over == "clips" else found.speakers
    left = [abx(without(found, units == unit), speakers=speakers).error for unit in range(n)]
    deviation = sum((result.error - error) ** 2 for error in left) ** 0.5
    assert (result.high - result.low) / 3.92 == pytest.approx(deviation, rel=0.2)


def test_cells_that_vanish_are_part_of_the_interval():
    found = made_up(spread=0.6, count=120, labels=5, voices=2, clips=40, longest=1)
    found = replace(found, contexts=torch.randint(12, (120,), generator=torch.Generator().manual_seed(4)))
    for speakers in ("within", "across"):
        result = abx(found, speakers=speakers)
        assert result.triples < 8 * result.cells
        left = [abx(without(found, found.clips == clip), speakers=speakers).error for clip in range(40)]
        deviation = sum((result.error - error) ** 2 for error in left) ** 0.5
        assert (result.high - result.low) / 3.92 == pytest.approx(deviation, rel=0.35)


def test_a_single_clip_has_no_interval():
    result = abx(replace(made_up(spread=1.0), clips=torch.zeros(300, dtype=torch.long)))
    assert result.low == result.error == result.high


def test_few_speakers_of_x_are_drawn_for_each_phone():
    found = made_up(spread=0.8, voices=6)
    all_of_them, one = abx(found, speakers="across"), abx(found, speakers="across", other_speakers=1)
    assert all_of_them.cells == 5 * one.cells
    assert abs(all_of_them.error - one.error) < 0.05
    assert abx(found, speakers="across", other_speakers=1, seed=1).error != one.error


def test_without_a_triple_the_way_out_is_told():
    one = made_up(voices=1)
    with pytest.raises(SamplingError, match="there is one speaker: measure within speakers"):
        abx(one, speakers="across")
    alone = replace(one, contexts=torch.arange(300))
    with pytest.raises(SamplingError, match=r"300 items, no triple within speakers \(more speech"):
        abx(alone)


UNITS = [
    *[("SIL", 0.0, 0.1), ("a", 0.1, 0.2), ("b", 0.2, 0.23), ("a", 0.23, 0.4), ("pau", 0.4, 0.5)],
    *[("b", 0.5, 0.6), ("c", 0.65, 0.8), ("c", 0.8, 0.8)],
]


def test_phones_have_their_neighbours_for_context():
    assert list(spans(UNITS, "triphone")) == [("b", ("a", "a"), 0.1, 0.4)]
    assert [(label, *(context or ())) for label, context, *_ in spans(UNITS, "phone")] == [
        ("a", "SIL", "b"),
        ("b", "a", "a"),
        ("a", "b", "SIL"),
        ("b", "SIL", "SIL"),
        ("c", "SIL", "SIL"),
    ]
    assert {span.context for span in spans(UNITS, "any")} == {None}
    assert len(list(spans(UNITS, "any"))) == 5


@pytest.fixture
def store(tmp_path):
    """Three utterances of 0.8 s; frame t of 40 ms, from 20 ms on, has the value t."""
    with FeatureWriter(tmp_path / "f", frame_seconds=0.04, first_centre=0.02, provenance={}) as writer:
        for name in "xyz":
            writer.add(name, {"count": torch.arange(20.0)[:, None]})
    return FeatureStore(tmp_path / "f")


def clip(name, units=UNITS, speaker="s"):
    return Clip(id=name, path=f"{name}.wav", units=units, speaker=speaker)


def test_an_item_has_the_frames_whose_centres_it_covers(store):
    found = items(store, "count", [clip("x")], kind="any")
    parts = [part[:, 0].tolist() for part in found.frames.split(found.lengths.tolist())]
    assert parts == [[2, 3, 4], [5], [6, 7, 8, 9], [12, 13, 14], [16, 17, 18, 19]]
    assert [found.names[label] for label in found.labels.tolist()] == ["a", "b", "a", "b", "c"]
    (triphone,) = items(store, "count", [clip("x")]).lengths.tolist()
    assert triphone == 8
    short = [("a", 0.21, 0.215), ("b", 0.79, 0.85)]  # no centre, and the end of the features
    assert items(store, "count", [clip("x", short)], kind="any").frames[:, 0].tolist() == [5, 19]


def test_clips_without_a_speaker_are_left_out_if_others_have_one(store):
    found = items(store, "count", [clip("x"), clip("y", speaker=None), clip("z")], kind="any")
    assert (found.voices, found.unknown, len(found.lengths)) == (("s",), 1, 10)
    found = items(store, "count", [clip("x", speaker=None), clip("y", speaker=None)], kind="any")
    assert (found.voices, found.unknown, len(found.lengths)) == (("",), 0, 10)


def test_a_limit_draws_of_each_kind_and_by_the_seed_alone(store):
    clips = [clip(name) for name in "xyz"]
    found = items(store, "count", clips, kind="any", limit=2)
    assert found.labels.bincount().tolist() == [2, 2, 2]
    assert items(store, "count", clips, kind="any", limit=2).frames.tolist() == found.frames.tolist()
    others = [items(store, "count", clips, kind="any", limit=2, seed=seed) for seed in range(9)]
    assert any(other.frames.tolist() != found.frames.tolist() for other in others)


def test_labels_of_something_else_are_refused(store):
    with pytest.raises(LabelError, match="no utterance has triphones"):
        items(store, "count", [clip("other")])
    late = [("a", 0.5, 0.6), ("b", 1.1, 1.2)]
    with pytest.raises(LabelError, match=r"x: 'b' begins at 1\.1 s"):
        items(store, "count", [clip("x", late)], kind="any")
