"""One loudness for all engines: the level of what is spoken, its pauses left aside.

As in EBU R 128 (ITU-R BS.1770-5, annex 1, https://www.itu.int/rec/R-REC-BS.1770), the mean power of blocks of
400 ms that overlap by three quarters, without those below -70 dB and then without those 10 dB below the mean
of the rest. Of that, the weighting of frequencies is left out: all of this is speech.
"""

import numpy as np
from jaxtyping import Float32

LEVEL = -23.0  # dB below full scale
PEAK = 0.95  # of full scale, at most: a louder sample makes the whole sentence softer
_BLOCK = 0.4  # seconds
_SILENT, _PAUSE = -70.0, -10.0  # dB: absolute, and against the mean

Wave = Float32[np.ndarray, " samples"]


def level(wave: Wave, rate: int) -> float | None:
    """The level in dB below full scale; None: it is silent."""
    size, hop = round(_BLOCK * rate), round(_BLOCK * rate / 4)
    sums = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    starts = np.arange(0, max(1, len(wave) - size + 1), hop)
    ends = np.minimum(starts + size, len(wave))
    power = (sums[ends] - sums[starts]) / np.maximum(ends - starts, 1)
    power = power[power > 10 ** (_SILENT / 10)]
    if not len(power):
        return None
    power = power[power >= power.mean() * 10 ** (_PAUSE / 10)]
    return float(10 * np.log10(power.mean()))


def levelled(wave: Wave, rate: int) -> Wave | None:
    """The audio at `LEVEL`, or softer where it would go beyond `PEAK`; None: it is silent."""
    found = level(wave, rate)
    if found is None:
        return None
    gain = min(10 ** ((LEVEL - found) / 20), PEAK / float(np.abs(wave).max()))
    return (wave * np.float32(gain)).astype(np.float32)
