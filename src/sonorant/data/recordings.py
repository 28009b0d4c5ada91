"""Recordings that utterances are mixed with: noise, rooms, other voices, from a folder or a manifest."""

from pathlib import Path

import torch
from torch import Generator

from sonorant.config import ConfigError
from sonorant.data.audio import AudioError, load
from sonorant.data.entries import audio_files
from sonorant.data.manifest import Clip, Manifest, ManifestError, read
from sonorant.nn.augment import Wave, choose
from sonorant.nn.distortions import DistortionConfig
from sonorant.nn.sounds import Sounds
from sonorant.nn.views import ViewConfig

_CACHE_SECONDS = 2 * 3600  # of decoded audio in memory, 230 MB an hour at 16 kHz


class Recordings:
    """The audio files below a folder, or a manifest's clips, each read when it is first drawn.

    What was read stays in memory until that is full; a long recording belongs in a manifest as several clips.
    ConfigError, with the setting's name: there is no such folder or manifest, or no audio in it.
    """

    def __init__(self, path: Path, rate: int, *, key: str) -> None:
        self._clips = _clips(path, key)
        self._rate, self._key = rate, key
        self._room = _CACHE_SECONDS * rate  # samples
        self._known: dict[str, Wave] = {}

    def __deepcopy__(self, memo: object) -> "Recordings":
        return self  # what it gives never changes

    def draw(self, generator: Generator) -> Wave:
        """One of them, whole. ConfigError: the file is not usable audio, or silent."""
        clip = choose(self._clips, generator)
        if (known := self._known.get(clip.id)) is not None:
            return known
        try:
            wave = torch.from_numpy(load(clip, self._rate))
        except AudioError as error:
            raise ConfigError(f"{self._key}: {error}") from error
        if not wave.any():
            raise ConfigError(f"{self._key}: {clip.path}: is silent (leave it out)")
        if len(wave) <= self._room:
            self._known[clip.id] = wave
            self._room -= len(wave)
        return wave


def sounds(config: ViewConfig | DistortionConfig, rate: int, *, key: str) -> Sounds:
    """What a configuration, which stands at `key`, names. ConfigError: as `Recordings` has it."""
    voices = config.voices if isinstance(config, DistortionConfig) else None
    paths = {"noises": config.noises, "rooms": config.rooms, "voices": voices}
    return Sounds(
        **{
            name: Recordings(Path(path), rate, key=f"{key}.{name}")
            for name, path in paths.items()
            if path is not None
        }
    )


def _clips(path: Path, key: str) -> Manifest | list[Clip]:
    if not path.is_dir():
        try:
            return read(path)
        except ManifestError as error:
            raise ConfigError(f"{key}: {error}") from error
    clips = [Clip(str(file.relative_to(path)), str(file)) for file in audio_files(path)]
    if not clips:
        raise ConfigError(f"{key}: {path}: has no audio files (name another folder, or a manifest)")
    return clips
