"""Every objective that there is, around every encoder that it accepts: found, not listed."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from sonorant.config import convert, load, override
from sonorant.data.audio import load as load_audio
from sonorant.data.manifest import read
from sonorant.encoders.build import EncoderConfig, build
from sonorant.objective import Objective, names, objective_config
from sonorant.recipes.shipped import shipped
from sonorant.types import Batch, pad

SPEECH = Path(__file__).parent.parent / "fixtures" / "speech" / "manifest.jsonl"
FRONTENDS = {
    "log_mel": {"name": "log_mel", "mels": 20, "stack": 2},
    "convolutions": {"name": "convolutions", "dim": 16, "norm": "layer"},
    "convolutions_group": {"name": "convolutions", "dim": 16, "norm": "group"},
    "sinc": {"name": "sinc", "dim": 16, "taps": 51, "skips": True},
}
CONTEXTS = {
    "gru": {"name": "gru", "dim": 16, "layers": 2},
    "lstm": {"name": "lstm", "dim": 16, "layers": 2},
    "masked_convolutions": {
        "name": "masked_convolutions",
        "dim": 16,
        "layers": 2,
        "kernel": 9,
        "mask": 3,
        "dropout": 0.0,
    },
    "transformer": {
        "name": "transformer",
        "dim": 16,
        "layers": 2,
        "heads": 2,
        "feedforward": 32,
        "position_kernel": 16,
        "position_groups": 2,
        "dropout": 0.0,
    },
    "conformer": {"name": "conformer", "dim": 16, "layers": 2, "heads": 2, "kernel": 7, "dropout": 0.0},
    "qrnn": {"name": "qrnn", "dim": 16, "layers": 2, "cells": 16},
    "qrnn_causal": {"name": "qrnn", "dim": 16, "layers": 2, "cells": 8, "bidirectional": False},
    "pointwise": {"name": "pointwise", "dim": 16},
}
# parts that no method treats otherwise meet some methods and partners; their own tests meet all encoders
ALONE = {"sinc": {"qrnn"}, "pointwise": {"log_mel"}, "qrnn": {"sinc", "log_mel"}, "qrnn_causal": {"log_mel"}}
SOME = ("apc", "ctc", "pase", "vicreg")
RECOGNISERS = ("ctc", "seq2seq")
SMALL_DECODER = {"dim": 16, "layers": 1, "heads": 2, "feedforward": 16, "dropout": 0.0}
LABELS = 9


@dataclass(frozen=True)
class Case:
    """An objective's name with the settings of an encoder."""

    objective: str
    frontend: str
    context: str

    def __str__(self) -> str:
        return f"{self.objective}-{self.frontend}-{self.context}"

    def build(self, *words: str, seed: int = 0) -> Objective:
        """The objective of the shipped configuration, with fresh weights; ValueError: it does not fit."""
        torch.manual_seed(seed)
        encoder = build(
            convert(
                {"frontend": FRONTENDS[self.frontend], "context": CONTEXTS[self.context]},
                EncoderConfig,
            )
        )
        settings = load(shipped(self.objective))["objective"]
        settings = {"name": self.objective, **settings}
        if self.objective in RECOGNISERS:
            # what fine-tuning freezes and drops is not what the contract is about
            settings |= {"labels": LABELS, "freeze_frontend": False, "freeze_context": 0, "dropout": 0.0}
            settings |= {"channel_mask_probability": 0.0}
        if "top_layers" in settings:
            settings |= {"top_layers": 2}  # all there are
        if "queue" in settings:
            settings |= {"queue": 64}  # among many more, four utterances can hardly be told
        elif self.objective == "seq2seq":
            settings |= {"decoder": SMALL_DECODER}
        elif "decoder" in settings:
            settings |= {"decoder": [8, 6, 4], "hidden": 16, "transform": 512}
        objective = objective_config(override(settings, words)).build(encoder)
        objective.prepare([batch()])
        return objective


def cases() -> Iterator[Case]:
    """The combinations that the objectives accept."""
    for objective, frontend, context in itertools.product(names(), FRONTENDS, CONTEXTS):
        case = Case(objective, frontend, context)
        if context not in ALONE.get(frontend, CONTEXTS) or frontend not in ALONE.get(context, FRONTENDS):
            continue
        if objective not in SOME and not ALONE.keys().isdisjoint((frontend, context)):
            continue
        try:
            case.build()
        except ValueError:
            continue
        yield case


def batch(*, start: int = 0, count: int = 4, padding: int = 0, seed: int = 7) -> Batch:
    """Real speech of different lengths with made-up labels; `padding` more samples of noise behind all."""
    clips = [clip for clip in read(SPEECH) if 0.9 < clip.seconds < 1.6][:4]
    waves = [torch.from_numpy(load_audio(clip, 16000)) for clip in clips]
    generator = torch.Generator().manual_seed(1)
    labels = [torch.randint(1, LABELS, (5 + row,), generator=generator) for row in range(4)]
    rows = slice(start, start + count)
    inputs = pad(waves[rows])
    if padding:
        noise = torch.randn(len(inputs.lengths), padding, generator=generator)
        values = torch.cat([inputs.values, noise], 1)
        inputs = type(inputs)(values, inputs.lengths)
    seeds = tuple(seed * 1000 + row for row in range(4))
    return Batch(inputs, seeds[rows], pad(labels[rows]), tuple(clip.id for clip in clips[rows]))


CASES = list(cases())
