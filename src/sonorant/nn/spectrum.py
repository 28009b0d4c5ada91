"""Power spectra of windows of waveforms."""

import torch

from sonorant.nn.features import frame_counts
from sonorant.types import Padded

FLOOR = 1e-10  # of an energy: that of the faintest 16-bit noise, in [-1, 1]


def power_spectrum(waveforms: Padded, *, window: int, hop: int, size: int) -> Padded:
    """`batch samples` to `batch time bins`: |X|^2 of Hann windows of `window` samples, `hop` apart, filled up
    with zeros to `size`, over the window's energy. Frames only where the whole window fits."""
    with torch.autocast(waveforms.values.device.type, enabled=False):
        shape = torch.hann_window(window, device=waveforms.values.device)
        frames = waveforms.values.float().unfold(1, window, hop) * (shape / shape.norm())
        power = torch.fft.rfft(frames, n=size).abs().square()
    return Padded(power, frame_counts(waveforms.lengths, window, hop))


def log_power_spectrum(waveforms: Padded, *, window: int, hop: int, size: int) -> Padded:
    """Natural logarithms of the same, zeros in the padding."""
    power = power_spectrum(waveforms, window=window, hop=hop, size=size)
    return Padded(power.values.clamp(min=FLOOR).log(), power.lengths).zeroed()
