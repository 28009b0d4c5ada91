"""Guards the batches: what a run meets is set by seed, epoch and utterance, not by threads or resuming."""

import tarfile
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
import torch

from sonorant.config import ConfigError, convert
from sonorant.data.audio import AudioError
from sonorant.data.dataset import DataConfig, Dataset, DatasetError
from sonorant.data.manifest import Clip, read, write
from sonorant.data.schedule import utterance_seeds

CLIPS = read(Path(__file__).parents[1] / "fixtures" / "speech" / "manifest.jsonl")[:24]


def dataset(clips=CLIPS, encode=None, **changes):
    settings = {"manifest": "all.jsonl", "batch_seconds": 6.0, "crop_seconds": 1.0} | changes
    return Dataset(clips, DataConfig(**settings), encode)


def same(batches, others):
    batches, others = list(batches), list(others)
    assert [(batch.ids, batch.seeds) for batch in batches] == [(other.ids, other.seeds) for other in others]
    for batch, other in zip(batches, others, strict=True):
        assert torch.equal(batch.inputs.values, other.inputs.values)
        assert torch.equal(batch.inputs.lengths, other.inputs.lengths)
    return True


def waves(batches):
    return {
        name: batch.inputs.values[row, : batch.inputs.lengths[row]]
        for batch in batches
        for row, name in enumerate(batch.ids)
    }


def test_an_epoch_has_every_clip_once_with_its_own_seed_and_zeros_behind_it():
    data = dataset(min_seconds=0)
    batches = list(data.batches(5, 2))
    assert sorted(name for batch in batches for name in batch.ids) == sorted(clip.id for clip in CLIPS)
    numbers = {clip.id: number for number, clip in enumerate(CLIPS)}
    for batch, planned in zip(batches, data.plan(5, 2), strict=True):
        assert batch.seeds == planned.seeds
        assert batch.seeds == tuple(
            utterance_seeds(5, 2, np.array([numbers[name] for name in batch.ids])).tolist()
        )
        assert batch.inputs.values.dtype == torch.float32
        assert not batch.inputs.values[~batch.inputs.mask].any()
        assert batch.inputs.values.numel() <= 6.0 * 16000


@pytest.mark.parametrize("start", [0, 1, 3, 1000])
def test_a_resumed_epoch_is_the_tail_of_the_whole_one(start):
    assert same(dataset().batches(5, 2, start=start), list(dataset().batches(5, 2))[start:])


def test_a_resumed_epoch_does_not_decode_what_came_before(monkeypatch):
    decoded = []
    data = dataset(workers=1, cache_hours=0)
    whole = data._samples
    monkeypatch.setattr(data, "_samples", lambda index: decoded.append(index) or whole(index))
    list(data.batches(5, 2, start=2))
    assert decoded == [index for planned in data.plan(5, 2)[2:] for index in planned.indices]


@pytest.mark.parametrize(
    "changes", [{"workers": 0}, {"workers": 5}, {"cache_hours": 0}, {"cache_hours": 3e-3}]
)
def test_threads_and_cache_change_nothing(changes):
    data = dataset(**changes)
    for _ in range(2):  # from the files, then from the cache
        assert same(data.batches(5, 2), dataset().batches(5, 2))


def test_the_cache_is_used_and_stays_within_its_size(monkeypatch):
    data = dataset(cache_hours=10 / 3600)
    list(data.batches(5, 2))
    held = sum(len(samples) for samples in data._cache.values())
    assert 0.8 * 160000 < held <= 160000
    full = dataset()
    list(full.batches(5, 2))
    monkeypatch.setattr("sonorant.data.dataset.load", None)
    list(full.batches(6, 3))


def test_a_crop_is_a_function_of_seed_epoch_and_utterance_alone():
    few = waves(dataset(CLIPS[:12], batch_seconds=2.0).batches(5, 2))
    many = waves(dataset().batches(5, 2))
    assert len(few) == 12
    assert all(torch.equal(few[name], many[name]) for name in few)
    longer = [clip.id for clip in CLIPS if clip.seconds > 1.2]
    assert all(len(many[name]) == 16000 for name in longer)
    for other in (dataset().batches(5, 3), dataset().batches(6, 2)):
        moved = waves(other)
        assert sum(not torch.equal(moved[name], many[name]) for name in longer) > 0.9 * len(longer)


def test_crops_reach_from_the_first_sample_to_the_last(tmp_path):
    ramp = np.arange(1000, dtype=np.int16)
    soundfile.write(tmp_path / "ramp.wav", ramp, 1000)
    clip = Clip("ramp", str(tmp_path / "ramp.wav"), samples=1000, rate=1000)
    data = dataset([clip], rate=1000, crop_seconds=0.99)
    firsts = [round(next(data.batches(1, epoch)).inputs.values[0, 0].item() * 2**15) for epoch in range(200)]
    assert set(firsts) == set(range(11))


def test_what_is_drawn_later_owes_nothing_to_the_crop():
    data = dataset([clip for clip in CLIPS if clip.seconds > 1.2])
    whole = waves(data.in_order())
    places, draws = [], []
    for epoch in range(5):
        for batch in data.batches(5, epoch):
            for row, (name, generator) in enumerate(zip(batch.ids, batch.generators(), strict=True)):
                stretches = whole[name].unfold(0, 16000, 1)
                first = (stretches[:, :64] == batch.inputs.values[row, :64]).all(1).nonzero()[0].item()
                places.append(first / max(1, len(stretches) - 1))
                draws.append(torch.rand((), generator=generator).item())
    assert len(places) > 60
    assert abs(np.corrcoef(places, draws)[0, 1]) < 3 / len(places) ** 0.5


def test_an_archive_gives_what_files_give_and_is_resumed_alike(tmp_path):
    rows = []
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        for clip in CLIPS:
            archive.add(clip.path, clip.id)
    with tarfile.open(tmp_path / "all.tar") as archive:
        for clip, info in zip(CLIPS, archive, strict=True):
            place = {"path": archive.name, "offset": info.offset_data, "size": info.size}
            rows.append(msgspec.structs.replace(clip, **place))
    write(tmp_path / "all.jsonl", rows)
    data = dataset(read(tmp_path / "all.jsonl"))
    got, alone = waves(data.batches(5, 2)), waves(dataset().batches(5, 2))
    assert all(torch.equal(got[name], wave) for name, wave in alone.items())
    assert got.keys() == alone.keys()
    assert list(data.plan(5, 2)) != list(dataset().plan(5, 2))  # by block
    assert same(data.batches(5, 2, start=3), list(data.batches(5, 2))[3:])


def test_a_part_of_a_file_is_the_slice():
    clip = max(CLIPS, key=lambda clip: clip.samples)
    part = msgspec.structs.replace(clip, id="part", start=3000, samples=9000)
    got = waves(dataset([clip, part], crop_seconds=None).batches(5, 2))
    assert torch.equal(got["part"], got[clip.id][3000:12000])
    exact, _ = soundfile.read(clip.path, dtype="float32")
    assert torch.equal(got[clip.id], torch.from_numpy(exact))  # a 16-bit file loses nothing


def test_audio_beyond_full_scale_is_clipped_and_does_not_wrap_around(tmp_path):
    soundfile.write(tmp_path / "loud.wav", np.array([1.5, -1.5] * 4000, np.float32), 16000, "FLOAT")
    clip = Clip("loud", str(tmp_path / "loud.wav"), samples=8000, rate=16000)
    (batch,) = dataset([clip]).batches(5, 2)
    assert batch.inputs.values[0, :2].tolist() == [1 - 2**-15, -1]


def test_ranks_share_the_clips():
    ranks = [list(dataset().batches(5, 2, rank=rank, world=3)) for rank in range(3)]
    assert len({len(batches) for batches in ranks}) == 1
    names = [name for batches in ranks for batch in batches for name in batch.ids]
    assert sorted(names) == sorted(clip.id for clip in CLIPS)
    alone = waves(dataset().batches(5, 2))
    assert all(torch.equal(wave, alone[name]) for batches in ranks for name, wave in waves(batches).items())


def test_in_order_gives_every_clip_once_and_whole():
    data = dataset()
    batches = list(data.in_order(4.0))
    assert sum(len(batch.ids) for batch in batches) == len(CLIPS)
    got = waves(batches)
    for clip in CLIPS:
        assert torch.equal(got[clip.id], torch.from_numpy(soundfile.read(clip.path, dtype="float32")[0]))
    lengths = torch.cat([batch.inputs.lengths for batch in batches])
    assert (lengths.diff() >= 0).all()
    assert same(batches, data.in_order(4.0))
    assert len(list(data.in_order())) < len(batches)


def test_short_clips_are_left_out_and_counted():
    limit = sorted(clip.seconds for clip in CLIPS)[5]
    data = dataset(min_seconds=limit)
    assert data.skipped == 5
    assert len(data.clips) == len(CLIPS) - 5
    with pytest.raises(DatasetError, match=r"none of 24 clips has 1000\.0 s"):
        dataset(min_seconds=1000.0)


def test_a_clip_without_a_length_is_an_error():
    with pytest.raises(ValueError, match="x: length not known"):
        dataset([Clip("x", "x.wav")])


def test_labels_stand_beside_their_audio():
    data = dataset(encode=lambda clip: list(map(ord, clip.text)), crop_seconds=None)
    texts = {clip.id: clip.text for clip in CLIPS}
    for batch in [*data.batches(5, 2), *data.in_order()]:
        for row, name in enumerate(batch.ids):
            label = batch.labels.values[row, : batch.labels.lengths[row]]
            assert "".join(map(chr, label.tolist())) == texts[name]
    assert next(dataset().batches(5, 2)).labels is None


def test_clips_with_labels_are_never_cropped():
    longer = sum(clip.seconds > 1.0 for clip in CLIPS)
    data = dataset(encode=lambda clip: [1])
    with pytest.raises(DatasetError, match=rf"{longer} clips with labels are longer than 1.0 s"):
        data.batches(5, 2)
    assert sum(len(batch.ids) for batch in data.in_order()) == len(CLIPS)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_file_stops_the_epoch_where_it_comes_and_leaves_no_thread(workers):
    missing = msgspec.structs.replace(CLIPS[3], id="missing", path="/nowhere/a.flac")
    data = dataset([*CLIPS, missing], workers=workers)
    place = next(n for n, planned in enumerate(data.plan(5, 2)) if len(CLIPS) in planned.indices)
    batches = data.batches(5, 2)
    for _ in range(place):
        next(batches)
    with pytest.raises(AudioError, match=r"^/nowhere/a\.flac: cannot be read: No such file"):
        next(batches)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_an_abandoned_epoch_ends_its_threads_and_decodes_no_further(monkeypatch):
    data = dataset(batch_seconds=1.0, workers=2)
    made = []
    monkeypatch.setattr(data, "_batch", lambda planned, whole: made.append(planned) or planned)
    batches = data.batches(5, 2)
    next(batches)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
    time.sleep(0.05)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
    assert len(made) <= 7 < len(data.plan(5, 2))  # the look-ahead is bounded


def test_each_epoch_draws_a_speed_for_each_clip():
    data, plain = dataset(speeds=(0.8, 1.25), crop_seconds=None), dataset(crop_seconds=None)
    recorded, epochs = waves(plain.batches(5, 2)), [waves(data.batches(5, epoch)) for epoch in range(4)]
    for name, wave in recorded.items():
        ratios = {round(len(wave) / len(epoch[name]), 2) for epoch in epochs}
        assert ratios <= {0.8, 1.25}
        for epoch in epochs:
            assert epoch[name].square().mean().item() == pytest.approx(wave.square().mean().item(), rel=0.1)
    lengths = [[len(epoch[name]) for epoch in epochs] for name in recorded]
    assert 0.3 < np.mean([each > min(row) for row in lengths for each in row]) < 0.7  # both, about as often
    assert same(data.batches(5, 2, start=3), list(data.batches(5, 2))[3:])
    assert all(batch.inputs.values.numel() <= 6.0 * 16000 for batch in data.batches(5, 2))
    assert same(data.in_order(), plain.in_order())


def test_a_speed_moves_the_pitch_and_1_changes_nothing(tmp_path):
    tone = np.sin(2 * np.pi * 400 * np.arange(16000) / 16000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", tone / 2, 16000)
    clip = Clip("a", str(tmp_path / "a.wav"), samples=16000, rate=16000)
    (slow,) = waves(dataset([clip], speeds=(0.8,), crop_seconds=None).batches(0, 0)).values()
    assert len(slow) == 20000
    assert torch.fft.rfft(slow).abs().argmax().item() == pytest.approx(400)  # 400 cycles in 1.25 s: 320 Hz
    assert same(dataset(speeds=(1.0,)).batches(5, 2), dataset().batches(5, 2))


def test_clips_with_labels_are_not_cropped_for_being_slowed():
    data = dataset([CLIPS[0]], encode=lambda clip: [1], crop_seconds=CLIPS[0].seconds + 0.01, speeds=(0.5,))
    with pytest.raises(DatasetError, match="1 clips with labels are longer"):
        data.batches(5, 2)


@pytest.mark.parametrize("crop", [None, 1.0])
def test_padding_share_counts_lengths_as_they_are_trained_on(crop):
    data = dataset(speeds=(0.8, 1.25), crop_seconds=crop)
    plan = data.plan(5, 2)
    real = padded = 0
    for batch in data.batches(5, 2):
        real += batch.inputs.lengths.sum().item()
        padded += batch.inputs.values.numel()
    assert plan.padding_share() == pytest.approx(1 - real / padded, abs=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"batch_seconds": 0}, {"workers": -1}, {"rate": 0}, {"crop_seconds": -1.0}]
)
def test_settings_out_of_range_are_errors(wrong):
    with pytest.raises(ConfigError, match=rf"data\.{next(iter(wrong))}: expected"):
        convert({"manifest": "all.jsonl"} | wrong, DataConfig, path="data")
