"""What a benchmark is run on: a word of the command line becomes a frozen model, its name and its content.

log-mel, mfcc            baselines without weights
runs/hubert              a run's best checkpoint, a checkpoint, or the folder of a published model
untrained:runs/hubert    the same encoder with new weights: a control
NAME=WORD                any of them by another name
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from sonorant.config import ConfigError
from sonorant.encoders import base
from sonorant.recipes.features import log_mel, mfcc
from sonorant.recipes.upstream import described, load_upstream, origin

BASELINE = "log-mel"  # what SUPERB's score starts from
BASELINES = {BASELINE: log_mel, "mfcc": mfcc}
UNTRAINED = "untrained:"


@dataclass(frozen=True)
class Upstream:
    """A word of the command line, and what the tables call it."""

    name: str
    word: str

    def load(self) -> base.Upstream:
        """The model. New weights are those of seed 0."""
        if self.word in BASELINES:
            return BASELINES[self.word]()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            path = origin(Path(self.word.removeprefix(UNTRAINED)))
            return load_upstream(path, untrained=self.word.startswith(UNTRAINED))

    def settings(self) -> str:
        """What beside the weights makes the model what it is, as text."""
        if self.word in BASELINES:
            return self.word
        return described(Path(self.word.removeprefix(UNTRAINED)))


def upstreams(words: Sequence[str]) -> list[Upstream]:
    """An upstream for each word. ConfigError: one comes twice."""
    pairs = [_pair(word) for word in words]
    paths = [Path(word.removeprefix(UNTRAINED)) for name, word in pairs if not name and word not in BASELINES]
    found = [Upstream(name or _name(word, paths), word) for name, word in pairs]
    names = [each.name for each in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"{twice[0]}: is given twice (name one of them: NAME=UPSTREAM)")
    return found


def fingerprint(upstream: Upstream, model: nn.Module) -> str:
    """The content of a model: its settings and every weight."""
    digest = hashlib.blake2b(upstream.settings().encode(), digest_size=8)
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _pair(word: str) -> tuple[str, str]:
    """The name that was given, if one was, and the rest."""
    name, equals, rest = word.partition("=")
    return (name, rest) if equals and not Path(word).exists() else ("", word)


def _name(word: str, paths: Sequence[Path]) -> str:
    """A baseline's own name, or as much of the end of a path as no other path has."""
    if word in BASELINES:
        return word
    path = Path(word.removeprefix(UNTRAINED)).resolve()
    others = [each.resolve().parts for each in paths if each.resolve() != path]
    count = 1
    while count < len(path.parts) and any(each[-count:] == path.parts[-count:] for each in others):
        count += 1
    name = "/".join(path.parts[-count:])
    return f"{name}, untrained" if word.startswith(UNTRAINED) else name
