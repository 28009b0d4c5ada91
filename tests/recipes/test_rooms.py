"""Guards that simulated rooms sound like rooms, and are found by what needs them."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonorant.config import ConfigError
from sonorant.data.recordings import Recordings
from sonorant.recipes.rooms import write_rooms


def test_rooms_differ_decay_and_come_again(tmp_path):
    pytest.importorskip("pyroomacoustics", reason="the extra rooms is not installed")
    for name, count in (("one", 3), ("two", 2)):
        write_rooms(tmp_path / name, count, rate=8000, seed=4)
    files = sorted((tmp_path / "one").iterdir())
    waves = [soundfile.read(path)[0] for path in files]
    assert [path.name for path in files] == [f"room_{number:05d}.wav" for number in range(3)]
    for number in range(2):
        assert np.array_equal(waves[number], soundfile.read(tmp_path / "two" / files[number].name)[0])
    assert not np.array_equal(waves[0][:500], waves[1][:500])
    for wave in waves:
        assert soundfile.info(files[0]).samplerate == 8000
        assert np.abs(wave).max() == pytest.approx(1)
        left = 10 * np.log10(np.square(wave[::-1]).cumsum()[::-1] / np.square(wave).sum())
        decay = np.flatnonzero(left < -35)[0] - np.flatnonzero(left < -5)[0]  # of 30 dB
        assert 0.1 < 2 * decay / 8000 < 1.2
    assert Recordings(tmp_path / "one", 16000, key="rooms")


def test_a_missing_library_and_a_full_folder_are_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    with pytest.raises(
        ConfigError, match=r"rooms: needs pyroomacoustics \(pip install 'sonorant\[rooms\]'\)"
    ):
        write_rooms(tmp_path / "rooms", 1)
    Path(tmp_path / "rooms" / "mine.wav").write_text("")
    with pytest.raises(ConfigError, match="is not empty"):
        write_rooms(tmp_path / "rooms", 1)
