"""Batches of audio out of a manifest: scheduled, decoded ahead by threads, cropped, padded.

Threads and no processes: libsndfile and soxr let go of Python's lock, and the cache is shared.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Annotated

import numpy as np
import soxr
import torch
from jaxtyping import Float, Float64, Int16, Int64
from msgspec import Meta
from torch import Tensor

from sonorant.config import Config
from sonorant.data.audio import load
from sonorant.data.manifest import Clip, Manifest, seconds, where
from sonorant.data.schedule import Plan, Planned, derived, draws, schedule, utterance_seeds
from sonorant.types import Batch, Kind, pad

_AHEAD = 3  # batches a worker has under way or ready
_FULL_SCALE = 1 << 15  # 16-bit steps to an amplitude of 1


Speed = Annotated[float, Meta(ge=0.5, le=2)]


class DatasetError(ValueError):
    """Clips and settings that do not go together."""


class DataConfig(Config, frozen=True, kw_only=True):
    """Where the audio is, and how it is cut into batches."""

    manifest: str
    validation: str | None = None  # a manifest too
    rate: Annotated[int, Meta(gt=0)] = 16000  # samples a second
    batch_seconds: Annotated[float, Meta(gt=0)] = 60.0  # of a batch with its padding
    crop_seconds: Annotated[float, Meta(gt=0)] | None = 15.0  # of longer utterances a stretch is drawn
    min_seconds: Annotated[float, Meta(ge=0)] = 0.3  # shorter utterances are left out
    speeds: Annotated[tuple[Speed, ...], Meta(min_length=1)] = (1.0,)  # one is drawn each time; pitch follows
    workers: Annotated[int, Meta(ge=0)] = 2  # threads that decode ahead; 0: decode when asked
    cache_hours: Annotated[float, Meta(ge=0)] = 8.0  # of decoded audio in memory, 115 MB an hour at 16 kHz


class Dataset:
    """Clips as batches of audio, with labels where `encode` gives a clip's.

    In training `weigh` gives the labels' weights, of a clip and its seed, and batches are of a `kind`.

    With `speeds` an utterance is resampled to last 1/speed as long (Ko et al. 2015, "Audio Augmentation for
    Speech Recognition"), one of them drawn anew in each epoch; `in_order` leaves it as it is.

    Audio is rounded to 16 bits after resampling, whether it comes from the cache or not: the cache holds half
    of float32's bytes and changes no bit of a batch. A 16-bit file at the dataset's rate is kept exactly; of
    any other the rounding is 98 dB below full scale. A clip is decoded whole before it is cropped, so a long
    recording belongs in the manifest as several clips.

    ValueError: a clip's length is not known, or all are too short.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        config: DataConfig,
        encode: Callable[[Clip], list[int]] | None = None,
        *,
        weigh: Callable[[Clip, int], list[float]] | None = None,
        kind: Kind | None = None,
    ) -> None:
        lengths = seconds(clips)
        long = lengths >= config.min_seconds
        self.clips = where(clips, long)
        self.seconds: Float64[np.ndarray, " clips"] = lengths[long]
        """Each clip's length as it was recorded."""
        self.skipped = len(clips) - len(self.clips)
        """How many clips are left out because they are shorter than `min_seconds`."""
        if not self.clips:
            raise DatasetError(
                f"none of {len(clips)} clips has {config.min_seconds} s (lower data.min_seconds or add data)"
            )
        self.config = config
        self.encode = encode
        self.weigh = weigh
        self.kind = kind
        self._cache: dict[int, Int16[np.ndarray, " samples"]] = {}
        self._room = int(config.cache_hours * 3600 * config.rate)  # samples
        self._lock = Lock()
        self._planned: tuple[tuple[int, ...], Plan] | None = None  # the last plan, and what for

    def plan(self, seed: int, epoch: int, *, rank: int = 0, world: int = 1) -> Plan:
        """An epoch's batches to come: which clips, and their seeds. Clips in archives are kept together."""
        key = (seed, epoch, rank, world)
        if self._planned is None or self._planned[0] != key:
            self._planned = key, self._plan(*key)
        return self._planned[1]

    def _plan(self, seed: int, epoch: int, rank: int, world: int) -> Plan:
        seeds = utterance_seeds(seed, epoch, np.arange(len(self.clips)))
        drawn = self.seconds / self._speeds(seeds)
        return schedule(
            drawn if self.config.crop_seconds is None else np.minimum(drawn, self.config.crop_seconds),
            batch_seconds=self.config.batch_seconds,
            seed=seed,
            epoch=epoch,
            by_block=isinstance(self.clips, Manifest) and self.clips.packed,
            rank=rank,
            world=world,
        )

    def batches(
        self, seed: int, epoch: int, *, start: int = 0, rank: int = 0, world: int = 1
    ) -> Iterator[Batch]:
        """An epoch's batches in their order, from batch `start` on without decoding those before it.

        DatasetError: clips with labels would be cropped. AudioError: a file gives no usable audio.
        """
        crop, slowest = self.config.crop_seconds, min(self.config.speeds)
        longer = int((self.seconds / slowest > crop).sum()) if self.encode and crop else 0
        if longer:
            raise DatasetError(
                f"{longer} clips with labels are longer than {crop} s and would lose a part of what is said "
                "(set data.crop_seconds to null or leave them out)"
            )
        return self._decoded(self.plan(seed, epoch, rank=rank, world=world)[start:])

    def in_order(self, batch_seconds: float | None = None) -> Iterator[Batch]:
        """Every clip once and whole, from the shortest to the longest: for evaluation."""
        plan = schedule(
            self.seconds,
            batch_seconds=batch_seconds or self.config.batch_seconds,
            seed=0,
            epoch=0,
            shuffle=False,
        )
        return self._decoded(plan, whole=True)

    def _speeds(self, seeds: Int64[np.ndarray, " clips"]) -> Float64[np.ndarray, " clips"]:
        """The speed of a clip in the epoch in which it has this seed."""
        speeds = np.array(self.config.speeds)
        drawn: Float64[np.ndarray, " clips"] = speeds[draws(seeds, "speed") % len(speeds)]
        return drawn

    def _decoded(self, plan: Sequence[Planned], *, whole: bool = False) -> Iterator[Batch]:
        if not self.config.workers:
            yield from (self._batch(planned, whole) for planned in plan)
            return
        pool = ThreadPoolExecutor(self.config.workers, thread_name_prefix="decode")
        pending: deque[Future[Batch]] = deque()
        try:
            for planned in plan:
                pending.append(pool.submit(self._batch, planned, whole))
                if len(pending) > _AHEAD * self.config.workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _batch(self, planned: Planned, whole: bool) -> Batch:
        each = list(zip(planned.indices, planned.seeds, strict=True))
        waves = [self._wave(index) if whole else self._training_wave(index, seed) for index, seed in each]
        clips = [self.clips[index] for index in planned.indices]
        encode, weigh = self.encode, None if whole else self.weigh
        labels = pad([torch.tensor(encode(clip), dtype=torch.long) for clip in clips]) if encode else None
        weights = None
        if weigh is not None:
            both = zip(clips, planned.seeds, strict=True)
            weights = pad([torch.tensor(weigh(clip, seed)) for clip, seed in both]).values
        ids = tuple(clip.id for clip in clips)
        return Batch(pad(waves), planned.seeds, labels, ids, weights, None if whole else self.kind)

    def _training_wave(self, index: int, seed: int) -> Float[Tensor, " samples"]:
        # A number of its own for each choice: what is drawn later from the seed's generator owes it nothing.
        wave, speed = self._wave(index), self._speeds(np.array([seed])).item()
        if speed != 1:
            wave = torch.from_numpy(soxr.resample(wave.numpy(), self.config.rate * speed, self.config.rate))
        if (crop := self.config.crop_seconds) is not None:
            length = round(crop * self.config.rate)
            first = derived(seed, "crop") % max(1, len(wave) - length + 1)
            wave = wave[first : first + length]
        return wave

    def _wave(self, index: int) -> Float[Tensor, " samples"]:
        return torch.from_numpy(self._samples(index)).float() / _FULL_SCALE

    def _samples(self, index: int) -> Int16[np.ndarray, " samples"]:
        """A clip's audio in 16-bit steps, from the cache if it is there.

        The clips that come first stay, until the cache is full: an epoch passes over every clip before it
        comes back to one, so throwing out what was used longest ago would throw out what comes next.
        """
        if (known := self._cache.get(index)) is not None:
            return known
        wave = load(self.clips[index], self.config.rate)
        steps = np.clip(np.rint(wave * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
        samples: Int16[np.ndarray, " samples"] = steps.astype(np.int16)
        with self._lock:
            if index not in self._cache and len(samples) <= self._room:
                self._cache[index] = samples
                self._room -= len(samples)
        return samples
