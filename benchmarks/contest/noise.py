"""How well phones are still named in noise that is as loud as a given share of the speech."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import soundfile
import torch

from contest.entries import Entry
from contest.figures import NOISY
from contest.scores import layers_of, made, probed
from sonorant.data.audio import load
from sonorant.data.manifest import Clip
from sonorant.evaluate.rows import Row
from sonorant.evaluate.store import FeatureStore
from sonorant.nn.augment import add_noise, as_loud
from sonorant.nn.sounds import MADE
from sonorant.recipes.demo import FITTED, aligned
from sonorant.recipes.features import extract
from sonorant.recipes.measuring import parts

SNR = 5.0  # dB
RATE = 16000


def measure_in_noise(entry: Entry) -> list[Row]:
    """The phone probe of clean training speech on test speech in noise, of the layer that does best on clean
    validation speech."""
    train, test = aligned(entry.corpus, "paired-1h", FITTED), aligned(entry.corpus, "test")
    clips, features = [*train, *in_noise(test, entry.folder / "noise")], entry.folder / "features"
    shutil.rmtree(features, ignore_errors=True)  # of an interrupted stage
    extract(made(entry), clips, features, provenance={})
    store = FeatureStore(features)
    best, *_ = probed(entry, NOISY, store, layers_of(store), clips, parts(train, test))
    for folder in (features, entry.folder / "noise"):
        shutil.rmtree(folder)
    return [best]


def in_noise(clips: Sequence[Clip], folder: Path) -> list[Clip]:
    """The clips in noise from white to brown, `SNR` below the speech and drawn for a clip's place alone, as
    files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for place, clip in enumerate(clips):
        wave, file = torch.from_numpy(load(clip, RATE)), folder / f"{place}.wav"
        noise = MADE.noise(len(wave), torch.Generator().manual_seed(place))
        soundfile.write(file, as_loud(add_noise(wave, noise, snr=SNR), wave).numpy(), RATE, subtype="FLOAT")
        there = {"path": str(file), "start": 0, "samples": len(wave), "rate": RATE, "offset": 0, "size": 0}
        found.append(msgspec.structs.replace(clip, **there))
    return found
