"""Whisper's encoder, as transformers saves it or as CTranslate2 does.

Radford et al. 2022, https://arxiv.org/abs/2212.04356.

The encoder takes 30 s, silence behind what is shorter, and each clip is run by itself. Its frame j is centred
on sample 320 j: the first one, on the clip's edge, is left out, so that all have their 40 ms of audio around
them; so are those whose 40 ms reach into the silence.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sonorant.config import ConfigError
from sonorant.encoders.base import FRONTEND, Frontend, Upstream, numbered
from sonorant.encoders.sizes import check_long_enough
from sonorant.types import Padded, pad
from sonorant.upstreams import INPUT, ctranslate2, saved

SUBSAMPLING = 2  # log-mel frames to one of the encoder's: the second convolution's stride


class WhisperFrontend(Frontend):
    """Whisper's log-mel energies, the two next to a frame's centre side by side."""

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        self.extractor = extractor
        self.rate, self.dim = saved.RATE, SUBSAMPLING * extractor.feature_size
        self.stride = SUBSAMPLING * extractor.hop_length
        self.longest = extractor.n_samples / self.rate

    def frames(self, samples: int) -> int:
        return max(0, samples // self.stride - 1)

    def forward(self, inputs: Padded) -> Padded:
        return pad([self.pairs(self.energies(wave), len(wave)) for wave in self.waves(inputs)]).to(
            inputs.values.device
        )

    def waves(self, inputs: Padded) -> list[Float[Tensor, " samples"]]:
        """Each waveform without its padding. ValueError: one is too short or too long."""
        check_long_enough(inputs, self.window)
        if (most := int(inputs.lengths.max())) > self.extractor.n_samples:
            raise ValueError(
                f"a waveform of {most} samples is longer than the {self.longest:g} s of this model"
            )
        return [wave[:length] for wave, length in zip(inputs.values, inputs.lengths.tolist(), strict=True)]

    def energies(self, wave: Float[Tensor, " samples"]) -> Float[Tensor, "mels time"]:
        """Of the waveform and the silence behind it; always in single precision."""
        with torch.autocast("cpu", enabled=False):
            found = self.extractor(wave.float().cpu().numpy(), sampling_rate=self.rate, return_tensors="pt")
        energies: Tensor = found.input_features[0].to(wave.device)
        return energies

    def pairs(self, energies: Float[Tensor, "mels time"], samples: int) -> Float[Tensor, "frames dim"]:
        return energies.T.reshape(-1, self.dim)[1 : 1 + self.frames(samples)]


class Whisper(Upstream):
    """Layers: `frontend`, log-mel; `input`, the convolutions with positions; `layer_0` and on, the blocks'
    outputs, the last one behind the final normalisation."""

    sees_future = True

    def __init__(self, encoder: nn.Module, extractor: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.frontend = WhisperFrontend(extractor)
        self.longest = self.frontend.longest

    def front(self) -> Frontend:
        return self.frontend

    def features(self, inputs: Padded) -> dict[str, Padded]:
        rows = [self._layers(wave) for wave in self.frontend.waves(inputs)]
        device = inputs.values.device
        return {name: pad([row[name] for row in rows]).to(device) for name in rows[0]}

    def _layers(self, wave: Float[Tensor, " samples"]) -> dict[str, Float[Tensor, "frames dim"]]:
        energies = self.frontend.energies(wave)
        hidden = self.encoder(energies[None], output_hidden_states=True).hidden_states
        first, *blocks = (each[0, 1 : 1 + self.frontend.frames(len(wave))] for each in hidden)
        frames = self.frontend.pairs(energies, len(wave))
        return {FRONTEND: frames, INPUT: first, **numbered(blocks)}


def load(folder: Path, *, untrained: bool = False) -> Whisper:
    """The encoder of a folder that transformers saved. ConfigError: see `saved.model`."""
    encoder = saved.model(folder, untrained=untrained, part="encoder.").encoder
    return Whisper(encoder, _extractor(folder, encoder.config))


def load_ctranslate2(folder: Path, *, untrained: bool = False) -> Whisper:
    """The encoder of a folder that CTranslate2 or faster-whisper made.

    ConfigError: transformers, whose network is filled, is not installed; the file is damaged, holds no
    Whisper or weights in integers.
    """
    transformers = saved.library(folder)
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    sizes, weights = ctranslate2.whisper_encoder(folder / ctranslate2.FILE)
    config = transformers.WhisperConfig(**sizes)
    encoder = WhisperEncoder(config)
    if not untrained:
        encoder.load_state_dict(weights)
    return Whisper(encoder.eval(), _extractor(folder, config))


def _extractor(folder: Path, config: Any) -> Any:
    """What makes log-mel energies, with the folder's settings if it has some.

    ConfigError: they do not fit the network.
    """
    kind = saved.library(folder).WhisperFeatureExtractor
    told = saved.preprocessing(folder)
    extractor = kind.from_dict(told) if told else kind(feature_size=config.num_mel_bins)
    expected = (config.num_mel_bins, SUBSAMPLING * config.max_source_positions)
    if (extractor.feature_size, extractor.nb_max_frames) != expected:
        raise ConfigError(
            f"{folder}: its preprocessor gives {extractor.feature_size} x {extractor.nb_max_frames} "
            f"energies, its network takes {expected[0]} x {expected[1]}"
        )
    return extractor
