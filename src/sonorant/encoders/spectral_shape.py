"""Log-mel frames without their level: what the label-free score has to foretell."""

from sonorant.encoders.base import Frontend
from sonorant.encoders.log_mel import LogMel
from sonorant.types import Padded


class SpectralShape(Frontend):
    """A log-mel front end's frames, from each 10 ms of which the mean over its bands is taken away.

    How loud the next syllable is, or whether there is one, is foretold without telling phones apart; what the
    spectrum looks like is not. No setting names it: nothing is trained on it.
    """

    def __init__(self, log_mel: LogMel) -> None:
        super().__init__()
        self.log_mel = log_mel
        self.rate, self.dim, self.stride = log_mel.rate, log_mel.dim, log_mel.stride

    def forward(self, inputs: Padded) -> Padded:
        frames = self.log_mel(inputs)
        bands = frames.values.unflatten(-1, (-1, self.log_mel.config.mels))
        return Padded((bands - bands.mean(-1, keepdim=True)).flatten(-2), frames.lengths).zeroed()

    def frames(self, samples: int) -> int:
        return self.log_mel.frames(samples)
