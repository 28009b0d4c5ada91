"""What PASE's workers regress: features of waveforms, a frame of them for each frame of an encoder.

Frames are centred on the encoder's; what a window sees beyond the ends of an utterance is zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from sonorant.nn.features import log_mel, mfcc, with_deltas
from sonorant.nn.gammatone import log_gammatone
from sonorant.nn.prosody import energy, pitch, zero_crossings
from sonorant.nn.spectrum import log_power_spectrum
from sonorant.nn.yin import frame_samples
from sonorant.types import Padded

WINDOWS = {  # seconds; at 16 kHz 400, 512, 1024 and 2048 samples
    "lps": 0.025,
    "mfcc": 0.025,
    "prosody": 0.025,
    "fbank": 0.025,
    "gammatone": 0.025,
    "lps_long": 0.032,
    "fbank_long": 0.064,
    "gammatone_long": 0.128,
    "mfcc_long": 0.128,
}
BANDS = 40  # of the filter banks
LONG_COEFFICIENTS = 20


@dataclass(frozen=True)
class Targets:
    """How frames lie in the audio, and how targets are computed: `stride` and `window` are the encoder's, in
    samples; `size` is that of the spectrum's transform; `deltas` adds the slopes and the slopes' slopes."""

    rate: int
    stride: int
    window: int
    size: int
    coefficients: int
    deltas: bool

    def dim(self, name: str) -> int:
        """The width of a target."""
        kind = name.removesuffix("_long")
        coefficients = self.coefficients if kind == name else LONG_COEFFICIENTS
        widths = {"lps": self.size // 2 + 1, "mfcc": coefficients, "prosody": 4}
        return widths.get(kind, BANDS) * (3 if self.deltas else 1)

    def check(self, names: Sequence[str]) -> None:
        """ValueError: the transform is shorter than a window of a spectrum."""
        for name in names:
            if name.startswith("lps") and self.size < round(WINDOWS[name] * self.rate):
                window = round(WINDOWS[name] * self.rate)
                raise ValueError(
                    f"worker {name}: transform {self.size} is below its window, {window} samples"
                )

    @torch.no_grad()
    def __call__(self, waves: Padded, frames: Padded, names: Sequence[str]) -> dict[str, Padded]:
        """The named targets of `batch samples`, as many steps as `frames` has, in single precision."""
        with torch.autocast(waves.values.device.type, enabled=False):
            plain = {name: self._plain(name, waves, frames) for name in names}
            return {name: with_deltas(each) if self.deltas else each for name, each in plain.items()}

    def chunks(self, waves: Padded, frames: Padded) -> Padded:
        """`batch time stride`: the samples around the middle of each frame, a stride of them."""
        around = self._around(waves, frames, self.stride)
        return Padded(around.values.unflatten(1, (-1, self.stride)), frames.lengths).zeroed()

    def _plain(self, name: str, waves: Padded, frames: Padded) -> Padded:
        seconds, hop = WINDOWS[name], self.stride / self.rate
        window = round(seconds * self.rate)
        around = self._around(waves, frames, window)
        match name.removesuffix("_long"):
            case "lps":
                return log_power_spectrum(around, window=window, hop=self.stride, size=self.size)
            case "mfcc":
                long = name.endswith("_long")
                coefficients = LONG_COEFFICIENTS if long else self.coefficients
                return mfcc(around, rate=self.rate, coefficients=coefficients, window=seconds, hop=hop)
            case "fbank":
                return log_mel(around, rate=self.rate, mels=BANDS, window=seconds, hop=hop)
            case "gammatone":
                return log_gammatone(around, rate=self.rate, bands=BANDS, window=window, hop=self.stride)
            case _:
                return self._prosody(waves, frames, around, window)

    def _prosody(self, waves: Padded, frames: Padded, around: Padded, window: int) -> Padded:
        wider = self._around(waves, frames, frame_samples(self.rate))
        log_f0, voiced = pitch(wider, rate=self.rate, hop=self.stride)
        loudness = energy(around, window=window, hop=self.stride)
        crossings = zero_crossings(around, window=window, hop=self.stride)
        return Padded(torch.stack([log_f0, voiced, loudness, crossings], -1), frames.lengths).zeroed()

    def _around(self, waves: Padded, frames: Padded, samples: int) -> Padded:
        """The waves so shifted that windows of `samples`, a stride apart from the start on, lie around the
        frames' middles: as many as there are frames, and nothing else."""
        time = frames.values.shape[1]
        early = round((samples - self.window) / 2)  # negative: the first window begins later
        whole = (time - 1) * self.stride + samples
        values = waves.zeroed().values.float()
        shifted = F.pad(values, (early, max(whole - early - values.shape[1], 0)))[:, :whole]
        lengths = (frames.lengths - 1) * self.stride + samples
        return Padded(shifted, lengths.where(frames.lengths > 0, 0))
