"""Guards who is trained and who is measured on: labels decide, else a hash, and no clip stands in two
parts."""

import pytest

from sonorant.config import ConfigError
from sonorant.data.manifest import Clip
from sonorant.evaluate.sampling import SamplingError
from sonorant.task import Times, find, names, parts


def clip(number, speaker=None, **labels):
    return Clip(f"c{number:03}", "x.wav", samples=8000, rate=16000, speaker=speaker, labels=labels or None)


def sides(part):
    return part.train, part.validation, part.test


def test_tasks_are_found_by_their_files():
    assert {"ks", "sid", "er", "ic"} <= set(names())
    for name in names():
        task = find(name)
        assert task.title.lower() == name
        assert task.__module__ == f"sonorant.tasks.{name}"
        assert task.data
    with pytest.raises(ConfigError, match="'tts' is not one of"):
        find("tts")


def test_labels_decide_and_validation_comes_from_training_where_none_is_given():
    clips = [clip(n, split=("train", "train", "dev", "test")[n % 4]) for n in range(40)]
    (found,) = parts(clips)
    assert found.validation == tuple(each.id for each in clips[2::4])
    clips = [clip(n, split=("train", "test")[n % 2]) for n in range(40)]
    (found,) = parts(clips)
    assert (len(found.train), len(found.validation), len(found.test)) == (18, 2, 20)
    assert set(found.test) == {each.id for each in clips[1::2]}


def test_hashed_parts_share_no_speaker():
    clips = [clip(n, speaker=f"s{n % 12}") for n in range(120)]
    (found,) = parts(clips)
    speakers = [{int(name[1:]) % 12 for name in side} for side in sides(found)]
    assert not speakers[0] & speakers[1]
    assert not speakers[0] & speakers[2]
    assert not speakers[1] & speakers[2]
    assert all(speakers)


def test_every_fold_is_measured_once_with_what_the_others_taught():
    clips = [clip(n, fold=str(n % 5)) for n in range(100)]
    found = parts(clips)
    assert sorted(name for each in found for name in each.test) == [each.id for each in clips]
    for each in found:
        fold = {int(name[1:]) % 5 for name in each.test}
        assert len(fold) == 1
        assert not fold & {int(name[1:]) % 5 for name in each.train + each.validation}


@pytest.mark.parametrize(
    ("clips", "kind", "message"),
    [
        ([clip(0, split="train"), clip(1)], ConfigError, "c001: has no label 'split', others have"),
        (
            [clip(0, split="training"), clip(1, split="test")],
            ConfigError,
            "'training', expected one of train",
        ),
        ([clip(0, split="train"), clip(1, split="train")], SamplingError, "for test"),
        ([clip(0, fold="1"), clip(1, fold="1")], SamplingError, "two folds or more"),
    ],
)
def test_labels_that_do_not_part_the_clips_are_named(clips, kind, message):
    with pytest.raises(kind, match=message):
        parts(clips)


def test_speakers_to_identify_are_in_all_parts():
    sid = find("sid")
    clips = [clip(n, speaker=f"s{n % 6}") for n in range(60)] + [clip(900, speaker="rare")]
    (found,) = sid.parts(clips)
    for side in sides(found):
        assert {int(name[1:]) % 6 for name in side} == set(range(6))
    assert "c900" not in found.train
    # a split by speaker cannot be used, one of speakers' clips can
    disjoint = [clip(n, speaker=f"s{n % 6}", split="test" if n % 6 == 0 else "train") for n in range(60)]
    assert {int(name[1:]) % 6 for name in sid.parts(disjoint)[0].test} == set(range(6))
    shared = [clip(n, speaker=f"s{n % 6}", split="test" if n < 12 else "train") for n in range(60)]
    assert set(sid.parts(shared)[0].test) == {each.id for each in shared[:12]}
    with pytest.raises(SamplingError, match="0 speakers with 5 clips"):
        sid.parts([clip(n, speaker=f"s{n}") for n in range(20)])


def test_slots_of_an_intent():
    ic = find("ic")
    order = Clip("a", "x.wav", labels={"intent.action": "on", "intent.object": "lights", "emotion": "joy"})
    assert ic.slots(order) == {"intent.action": "on", "intent.object": "lights"}
    assert not ic.takes(Clip("b", "x.wav", labels={"emotion": "joy"}))
    other = Clip("b", "x.wav", labels={"intent.action": "off", "intent.object": "lights"})
    task = ic([order, other], Times(0.01, 0.005))
    half = {"intent.action": "off", "intent.object": "heat"}  # one slot of two is right: no clip is
    assert task.score([order, other], [ic.slots(order), half])[0].value == 0.5
