"""Mel-frequency cepstral coefficients with deltas, as frames."""

from sonorant.encoders.base import Frontend
from sonorant.encoders.sizes import check_long_enough
from sonorant.nn.features import mfcc, with_deltas
from sonorant.types import Padded

COEFFICIENTS = 13


class MFCC(Frontend):
    """Kaldi's 13 coefficients with deltas of first and second order, 39 in all, every 10 ms; no parameters.

    No setting names it: it is there for HuBERT's first labels and as a baseline.
    """

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.rate = rate
        self.dim = 3 * COEFFICIENTS
        self.stride = rate // 100

    def forward(self, inputs: Padded) -> Padded:
        check_long_enough(inputs, self.window)
        return with_deltas(mfcc(inputs, rate=self.rate, coefficients=COEFFICIENTS))

    def frames(self, samples: int) -> int:
        return max(0, (samples - round(0.025 * self.rate)) // self.stride + 1)
