"""Audio files of any length as mono float32 samples at the rate that is asked for.

libsndfile decodes WAV, FLAC, MP3, Ogg Vorbis, Opus and more; what it does not know (M4A, WebM, ...) FFmpeg's
libraries decode where the extra `av` is installed. Several channels become their mean, soxr resamples.

A file is truncated if it decodes to fewer samples than the manifest or the file's own header promises. An
MP3's header only estimates, and Ogg's promises nothing: there the manifest's `samples` is what catches a cut
file. A file may lie in an archive that is not compressed: there its bytes are read at once.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from sonorant.data.chunks import even
from sonorant.data.manifest import Clip

_FFMPEG = frozenset({".3gp", ".aac", ".amr", ".m4a", ".mka", ".mkv", ".mov", ".mp4", ".webm", ".wma"})

EXTENSIONS = _FFMPEG | frozenset(
    {".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".sph", ".w64", ".wav"}
)
"""What names of audio files end in."""

_BLOCK = 1 << 18  # samples decoded at once
_ENDLESS = 1 << 62  # from here on a number of frames is libsndfile's "not known"
_STREAMED = 0x7FFFF000  # from here on a WAV's length in bytes is a placeholder, written before it was known
_SHORT = re.compile(r"^ *(?:data|SSND) *: (\d+) \(should be (\d+)\)", re.MULTILINE)  # in libsndfile's log
_PAGE = 10  # seconds that Ogg's last page may take
_TAGS = 1 << 14  # bytes that tags behind an MP3's last frame may take


class AudioError(ValueError):
    """A file that gives no usable audio, in one line: the file, the cause and the way out."""


class _Source(NamedTuple):
    """An audio file: a file of its own, or `size` bytes from byte `offset` of an archive."""

    path: Path
    offset: int = 0
    size: int = 0

    def __str__(self) -> str:
        return f"{self.path} from byte {self.offset} on" if self.size else str(self.path)


@dataclass(frozen=True)
class _Stream:
    rate: int
    promised: int | None  # samples that have to come; None: nobody says
    blocks: Iterator[Float32[np.ndarray, "samples channels"]]


class _Sequential(soundfile.SoundFile):
    """A file that is read from where it stands to its end.

    soundfile seeks to where it already is after every read of a seekable file: that makes MP3 decoders
    glitch at each block's edge, and fails on a FLAC that does not say how long it is.
    """

    def seekable(self) -> bool:
        return False


def load(clip: Clip, rate: int) -> Float32[np.ndarray, " samples"]:
    """A clip's audio: the mean of the file's channels, resampled to `rate` samples a second.

    AudioError: the file is missing, empty, truncated, not audio, not finite, or not as the clip says.
    """
    with _opened_clip(clip) as (source, stream):
        wave = np.concatenate(list(_mono(source, stream, clip.samples)))
    return wave if stream.rate == rate else soxr.resample(wave, stream.rate, rate)


def inspect(path: Path, offset: int = 0, size: int = 0) -> tuple[int, int]:
    """A file's length in samples and its samples a second, from decoding it whole in little memory.

    AudioError: as for `load`.
    """
    source = _Source(path, offset, size)
    with _opened(source) as stream:
        return sum(len(block) for block in _mono(source, stream)), stream.rate


def blocks(path: Path, rate: int, seconds: float) -> Iterator[Float32[np.ndarray, " samples"]]:
    """A file of any length at `rate` samples a second, in blocks of `seconds`, the last one shorter.

    Side by side they are what `load` gives for the whole file. AudioError: as for `load`, when it is met.
    """
    source = _Source(path)
    with _opened(source) as stream:
        yield from even(_mono(source, stream), stream.rate, rate, seconds)


def clip_blocks(clip: Clip, rate: int, seconds: float) -> Iterator[Float32[np.ndarray, " samples"]]:
    """A clip of any length in blocks, as `blocks` gives a file. AudioError: as for `load`."""
    with _opened_clip(clip) as (source, stream):
        yield from even(_mono(source, stream, clip.samples), stream.rate, rate, seconds)


@contextmanager
def _opened_clip(clip: Clip) -> Iterator[tuple[_Source, _Stream]]:
    source = _Source(Path(clip.path), clip.offset, clip.size)
    with _opened(source, clip.start, clip.samples) as stream:
        if clip.rate not in (0, stream.rate):
            raise AudioError(
                f"{source}: has {stream.rate} samples a second, the manifest says {clip.rate} "
                "(make the manifest anew)"
            )
        yield source, stream


def _mono(source: _Source, stream: _Stream, samples: int = 0) -> Iterator[Float32[np.ndarray, " samples"]]:
    """The stream's channels averaged, up to `samples` (0: to its end), once they are found to be sound."""
    got = 0
    for block in stream.blocks:
        part = block[: samples - got] if samples else block
        if not np.isfinite(part).all():
            raise AudioError(
                f"{source}: has samples that are not finite numbers (make it anew or leave it out)"
            )
        got += len(part)
        yield part[:, 0] if part.shape[1] == 1 else part.mean(axis=1)
        if got == samples:
            return
    if got < (stream.promised or 0):
        there = f"{got} of {stream.promised} samples are there"
        raise AudioError(f"{source}: truncated: {there} (fetch it again or leave it out)")
    if not got:
        raise AudioError(f"{source}: has no samples (fetch it again or leave it out)")


@contextmanager
def _opened(source: _Source, start: int = 0, samples: int = 0) -> Iterator[_Stream]:
    """A file to be decoded from sample `start`; `samples` says how many are wanted (0: all)."""
    path = source.path
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise AudioError(f"{path}: is not a file (check the path)")
        if not size:
            raise AudioError(f"{path}: is empty, 0 bytes (fetch it again or leave it out)")
        if path.suffix.lower() in _FFMPEG:
            with _ffmpeg(path, start, samples) as stream:
                yield stream
        else:
            with (
                BytesIO(_member(source)) if source.size else path.open("rb", buffering=0) as file,
                _sndfile(source, file, start, samples) as stream,
            ):
                yield stream
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror} (check the path)") from error


def _member(source: _Source) -> bytes:
    """A file's bytes, from the archive that it lies in."""
    with source.path.open("rb") as archive:
        archive.seek(source.offset)
        content = archive.read(source.size)
    if len(content) < source.size:
        there = f"{len(content)} of {source.size} bytes are there"
        raise AudioError(f"{source}: truncated: {there} (fetch the archive again, or make the manifest anew)")
    return content


def _undecodable(source: _Source | Path, cause: str) -> AudioError:
    cause = " ".join(cause.split()).rstrip(".")
    return AudioError(
        f"{source}: not audio, or damaged or truncated: {cause} (fetch it again or convert it to FLAC)"
    )


@contextmanager
def _sndfile(source: _Source, file: BinaryIO, start: int, samples: int) -> Iterator[_Stream]:
    try:
        with _sound(source, file) as sound:
            if start > sound.frames:
                raise AudioError(
                    f"{source}: has {sound.frames} samples, the clip starts at {start} "
                    "(make the manifest anew)"
                )
            _go_to(sound, start)
            promised = samples or _promised(sound, start)
            yield _Stream(sound.samplerate, promised, _sound_blocks(sound, samples))
            # Without an index libsndfile takes an MP3's length from its first frame and stops there, so a
            # variable bit rate can lose it the rest. A name: it was not read through `file`.
            size = source.size or source.path.stat().st_size
            left = 0 if isinstance(sound.name, str) else size - file.tell()
            if sound.format == "MP3" and not samples and left > _TAGS:
                raise AudioError(
                    f"{source}: goes on behind the length that its header says (give it an index: "
                    "ffmpeg -i OLD.mp3 -c copy NEW.mp3)"
                )
    except soundfile.LibsndfileError as error:
        raise _undecodable(source, error.error_string) from error


def _sound(source: _Source, file: BinaryIO) -> _Sequential:
    """The file opened by its content or else, such as an MP3 cut out of a stream, by its name."""
    try:
        return _Sequential(file if source.size else file.fileno(), closefd=False)
    except soundfile.LibsndfileError as error:
        if source.size:
            raise
        try:
            return _Sequential(source.path)
        except soundfile.LibsndfileError:
            raise error from None


def _go_to(sound: _Sequential, start: int) -> None:
    """Make sample `start` the next one.

    In Ogg, libsndfile misses the right sample on the last page, and Opus needs a run-up after each seek.
    """
    near = start
    if sound.format == "OGG":
        near = max(0, min(start - sound.samplerate, sound.frames - _PAGE * sound.samplerate))
    if near:
        sound.seek(near)
    if start > near:
        sound.read(start - near, dtype="float32")


def _promised(sound: _Sequential, start: int) -> int | None:
    """The samples that the header promises from `start` on; libsndfile corrects a cut WAV's in silence."""
    if sound.format == "MP3" or sound.frames >= _ENDLESS:
        return None
    frames: int = sound.frames
    if short := _SHORT.search(sound.extra_info):
        said, there = int(short[1]), int(short[2])
        if said < _STREAMED:
            frames = math.ceil(frames * said / max(there, 1))
    return frames - start


def _sound_blocks(sound: _Sequential, samples: int) -> Iterator[Float32[np.ndarray, "samples channels"]]:
    size = min(samples or _BLOCK, _BLOCK)
    while len(block := sound.read(size, dtype="float32", always_2d=True)):
        yield block


@contextmanager
def _ffmpeg(path: Path, start: int, samples: int) -> Iterator[_Stream]:
    try:
        import av
    except ImportError as error:
        raise AudioError(
            f"{path}: {path.suffix} needs FFmpeg's libraries "
            "(pip install 'sonorant[av]', or convert the file to FLAC)"
        ) from error

    def decoded() -> Iterator[Float32[np.ndarray, "samples channels"]]:
        # A packet's time is too coarse to seek to a sample: what lies before `start` is decoded and dropped.
        skip, planes = start, av.AudioResampler(format="fltp")
        for frame in container.decode(track):
            for part in planes.resample(frame):
                block = part.to_ndarray().T
                if skip < len(block):
                    yield block[skip:]
                skip = max(0, skip - len(block))

    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise AudioError(f"{path}: has no audio track (leave it out)")
            track = container.streams.audio[0]
            yield _Stream(track.rate, samples or None, decoded())
    except av.FFmpegError as error:
        raise _undecodable(path, str(error.strerror)) from error
