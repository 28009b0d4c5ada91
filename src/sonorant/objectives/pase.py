"""PASE and PASE+: small workers regress or tell apart what they need to know about speech, all from one code.

S. Pascual, M. Ravanelli, J. Serra, A. Bonafonte, Y. Bengio, "Learning Problem-agnostic Speech Representations
from Multiple Self-supervised Tasks", Interspeech 2019, https://arxiv.org/abs/1904.03416; M. Ravanelli et al.,
"Multi-task Self-Supervised Learning for Robust Speech Recognition", ICASSP 2020,
https://arxiv.org/abs/2001.09239 (PASE+). Sizes are those of the authors' code,
https://github.com/santi-pdp/pase; numbers of equations are not given, they could not be checked.

With an encoder's output e_t, the worker i's network g_i, and its weight w_i (1 in the papers),

    L = sum over i of w_i L_i / sum over i of w_i

    wave                     L_i = mean of |g_i(e) - x|                    x the samples, g_i a decoder
    lps, mfcc, prosody ..    L_i = mean of (g_i(e_t)_k - y_{t+k})^2        k of the `neighbours` around t
    lim, gim, spc            L_i = - mean of (ln g_i(a, p) + ln(1 - g_i(a, n))) / 2

lps is the logarithmic power spectrum; fbank and gammatone are logarithmic filter banks of 40 bands; prosody
is log F0 (YIN, interpolated where nobody speaks), voicing, log energy and the rate of zero crossings; those
with `_long` see longer windows. All are standardised by statistics of the first batches, the waveform too.
For lim and gim each utterance is cut into two halves, which are encoded apart: a is a frame (gim: the mean)
of one half, p of the other, n of another utterance's half; a batch of one utterance has no n. For spc p are
the five frames that follow a after `spc_guard` seconds, n those before it.

PASE: wave, lps, mfcc, prosody, lim, gim and spc, one frame, no deltas. PASE+: without spc, with fbank,
gammatone and four long ones, each with deltas, seven frames; the input is distorted, targets stay clean. Both
are shipped as configurations. Targets have the encoder's own rate: any encoder will do.

`beside` is another objective on the same encoder, which meets the clean utterances whole. Its loss is added
as a sum, so that each of its targets counts `beside_weight` times as much as a frame of the workers': where
an objective has few targets an utterance, give it more.

Deviations: each utterance's mean counts as often as it has frames, since utterances differ in length; frames
of lim are drawn, not taken at the same place, and each half is anchor once (PASE+'s `augment`) in both
versions; features are Kaldi's and this project's, not librosa's; gammatone filters weigh a spectrum; YIN
takes the place of SWIPE; whether the authors weigh the waveform by its deviation could not be checked; the
decoder has no batch normalisation. What else the encoder changes is told there (encoders/sinc.py, qrnn.py,
pointwise.py).

Look at each worker's own figure: 1 is what a regressor has that knows nothing but the mean, 0.69 a
discriminator that guesses (accuracy 0.5).
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
import torch
from msgspec import Meta
from torch import Generator, Tensor, nn

from sonorant.config import ConfigError
from sonorant.data.recordings import sounds
from sonorant.encoders.base import Encoder
from sonorant.health import Sign
from sonorant.nn.distortions import DistortionConfig, distort
from sonorant.nn.targets import WINDOWS, Targets
from sonorant.nn.workers.discrimination import (
    GlobalInfoMax,
    LocalInfoMax,
    SequencePrediction,
    draw,
)
from sonorant.nn.workers.judged import Judged
from sonorant.nn.workers.regression import Regressor, WaveDecoder, standardise_targets
from sonorant.objective import Objective, ObjectiveConfig, objective_config
from sonorant.types import Batch, Loss, Padded, pad

PAIRED = ("lim", "gim")  # which ask for two halves of an utterance
NAMES = ("wave", *WINDOWS, *PAIRED, "spc")
FIRST = ("wave", "lps", "mfcc", "prosody", "lim", "gim", "spc")
WAVE_HIDDEN = 64

Count = Annotated[int, Meta(ge=1)]
Weight = Annotated[float, Meta(ge=0)]


class Config(ObjectiveConfig, frozen=True, kw_only=True):
    """PASE's numbers. `workers` are names with weights; 0 leaves one out."""

    workers: dict[str, Weight] = msgspec.field(default_factory=lambda: dict.fromkeys(FIRST, 1.0))
    neighbours: Count = 1  # frames around each one that are predicted, itself among them; PASE+: 7
    deltas: bool = False  # PASE+: true
    coefficients: Annotated[int, Meta(ge=1, le=23)] = 20  # of mfcc; PASE+: 13, and 20 of mfcc_long
    transform: Count = 2048  # of lps, in samples
    hidden: Count = 256  # units of each worker
    decoder: tuple[Count, Count, Count] = (512, 256, 128)  # channels of wave's
    spc_guard: Annotated[float, Meta(ge=0)] = 0.16  # seconds, as in the authors' code
    distortion: DistortionConfig | None = None
    beside: dict[str, Any] | None = None  # `name` and the settings of another objective
    beside_weight: Annotated[float, Meta(gt=0)] = 1.0

    def __post_init__(self) -> None:
        if unknown := [name for name in self.workers if name not in NAMES]:
            raise ConfigError(f"workers: {unknown[0]!r} is not one of {', '.join(NAMES)}")
        if not any(self.workers.values()):
            raise ConfigError("workers: give at least one of them a weight above 0")
        if self.neighbours % 2 == 0:
            raise ConfigError(f"neighbours {self.neighbours} must be odd, to be centred on a frame")
        if self.beside is not None:
            self._beside()

    def taught_by(self) -> str | None:
        return None if self.beside is None else self._beside().taught_by()

    def build(self, encoder: Encoder) -> "PASE":
        """ValueError: the encoder's frames do not fit a worker; ConfigError: a sound cannot be read."""
        return PASE(encoder, self, None if self.beside is None else self._beside().build(encoder))

    def build_with(self, encoder: Encoder, teacher: Encoder) -> "PASE":
        """The teacher is that of `beside`."""
        return PASE(encoder, self, self._beside().build_with(encoder, teacher))

    def _beside(self) -> ObjectiveConfig:
        assert self.beside is not None
        return objective_config(self.beside)


class PASE(Objective):
    """See the head of this file."""

    def __init__(self, encoder: Encoder, config: Config, beside: Objective | None) -> None:
        super().__init__(encoder)
        self.config = config
        frontend, dim, hidden = encoder.frontend, encoder.context.dim, config.hidden
        self.weights = {name: weight for name, weight in config.workers.items() if weight}
        self.halves = any(name in self.weights for name in PAIRED)
        self.targets = Targets(
            rate=frontend.rate,
            stride=frontend.stride,
            window=frontend.window,
            size=config.transform,
            coefficients=config.coefficients,
            deltas=config.deltas,
        )
        self.features = [name for name in self.weights if name in WINDOWS]
        self.targets.check(self.features)
        self.workers = nn.ModuleDict({name: self._worker(name, dim, hidden) for name in self.weights})
        distortion = config.distortion
        self.sounds = None
        if distortion is not None:
            self.sounds = sounds(distortion, frontend.rate, key="objective.distortion")
        self.beside = beside
        if beside is not None:
            # trained and saved once, as this objective's own
            del beside.encoder
            object.__setattr__(beside, "encoder", encoder)
            self.prepare_hours = beside.prepare_hours
        self.couples_utterances = (
            self.halves
            or (distortion is not None and distortion.couples_utterances)
            or (beside is not None and beside.couples_utterances)
        )

    def prepare(self, batches: Iterable[Batch]) -> None:
        """Gathers the targets' means and deviations, and prepares the objective beside."""
        workers = {
            name: worker
            for name, worker in self.workers.items()
            if isinstance(worker, Regressor | WaveDecoder)
        }
        if workers:
            standardise_targets(workers, map(self._wanted, batches))
        if self.beside is not None:
            self.beside.prepare(batches)

    def forward(self, batch: Batch) -> Loss:
        generators = batch.generators()
        heard = self._distorted(batch.inputs, generators)
        embedding = self.encoder(halve(heard) if self.halves else heard).last
        judged = self._judge(embedding, halve(batch.inputs) if self.halves else batch.inputs, generators)
        frames = embedding.lengths
        means = sum(weight * judged[name].loss for name, weight in self.weights.items())
        total = (frames * means).sum() / sum(self.weights.values())
        metrics: dict[str, Tensor] = {}
        for name, each in judged.items():
            metrics |= each.metrics(name, frames)
        return self._with_beside(Loss(total, frames.sum(), metrics), batch)

    def signs(self) -> Sequence[Sign]:
        return () if self.beside is None else self.beside.signs()

    def statistics(self) -> Sequence[Tensor]:
        return () if self.beside is None else self.beside.statistics()

    def after_step(self, step: int) -> None:
        if self.beside is not None:
            self.beside.after_step(step)

    def _judge(self, embedding: Padded, clean: Padded, generators: Sequence[Generator]) -> dict[str, Judged]:
        """What each worker says of the embedding of clean speech."""
        features = self.targets(clean, embedding, self.features)
        draws = None
        if self.halves:
            draws = draw(embedding.lengths, generators, time=embedding.values.shape[1])
        judged = {}
        for name, worker in self.workers.items():
            if name in features:
                judged[name] = worker(embedding, features[name])
            elif name == "wave":
                judged[name] = worker(embedding, self.targets.chunks(clean, embedding))
            else:
                judged[name] = worker(embedding, draws) if name in PAIRED else worker(embedding)
        return judged

    def _worker(self, name: str, dim: int, hidden: int) -> nn.Module:
        config, frontend = self.config, self.encoder.frontend
        match name:
            case "wave":
                return WaveDecoder(dim, frontend.stride, widths=config.decoder, hidden=WAVE_HIDDEN)
            case "lim":
                return LocalInfoMax(dim, hidden=hidden)
            case "gim":
                return GlobalInfoMax(dim, hidden=hidden)
            case "spc":
                guard = round(config.spc_guard * frontend.rate / frontend.stride)
                return SequencePrediction(dim, hidden=hidden, guard=guard)
            case _:
                return Regressor(dim, self.targets.dim(name), hidden=hidden, neighbours=config.neighbours)

    def _wanted(self, batch: Batch) -> dict[str, Padded]:
        """The targets of all regressors, for whole utterances."""
        inputs = batch.inputs
        counts = [self.encoder.frontend.frames(length) for length in inputs.lengths.tolist()]
        lengths = torch.tensor(counts, device=inputs.values.device)
        frames = Padded(inputs.values.new_zeros(len(counts), max(counts), 1), lengths)
        wave = {"wave": self.targets.chunks(inputs, frames)} if "wave" in self.weights else {}
        return {**self.targets(inputs, frames, self.features), **wave}

    def _distorted(self, inputs: Padded, generators: Sequence[Generator]) -> Padded:
        if self.config.distortion is None or self.sounds is None:
            return inputs
        rate = self.encoder.frontend.rate
        return distort(inputs, self.config.distortion, rate=rate, generators=generators, sounds=self.sounds)

    def _with_beside(self, loss: Loss, batch: Batch) -> Loss:
        if self.beside is None:
            return loss
        other: Loss = self.beside(batch)
        mean = other.total.detach() / other.count.clamp(min=1)
        total = loss.total + self.config.beside_weight * other.total
        return Loss(total, loss.count, {**other.metrics, **loss.metrics, "beside": mean})


def halve(inputs: Padded) -> Padded:
    """Both halves of each utterance, one below the other."""
    halves = []
    for wave, length in zip(inputs.values, inputs.lengths.tolist(), strict=True):
        halves += [wave[: length // 2], wave[length // 2 : length]]
    return pad(halves).to(inputs.values.device)
