"""Who takes part in a contest: every self-supervised objective that there is, and the bounds beside them.

Methods are found by their files, with the settings of their small shipped configurations. All are trained
around one encoder, the demo's, unless it does not fit: then the causal one, then the method's own context
behind the same front end, then its own encoder. Settings that count frames keep the duration that they have
in the method's own configuration.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from contest.recognisers import Recogniser
from sonorant.config import ConfigError, convert, load, override
from sonorant.data.dataset import DataConfig
from sonorant.encoders.base import Frontend, Upstream
from sonorant.encoders.build import EncoderConfig, build
from sonorant.objective import names, objective_config
from sonorant.recipes.features import log_mel, mfcc
from sonorant.recipes.settings import PretrainConfig
from sonorant.recipes.shipped import names as shipped_names
from sonorant.recipes.shipped import shipped
from sonorant.recipes.upstream import load_upstream

SUPERVISED = ("ctc", "seq2seq")
OTHERS = re.compile("^demo_|_base$")  # configurations that are no small one of a method
SHARED, CAUSAL = "demo_pretrain", "apc"  # the configurations whose encoders the others take
SMALL = {"wav2vec2": SHARED}  # where the small configuration has another name: its own reads waveforms
IN_FRAMES = ("shift", "steps", "length", "mask_length", "time_length")
IN_UPDATES = ("momentum_steps",)  # as many as there are in training
SECOND = {"hubert": {"codes": [500]}}  # second iterations, with what differs in them
UNTRAINED = {"untrained": "best_rq", "untrained, causal": CAUSAL}  # whose encoders as they are drawn


@dataclass(frozen=True)
class Method:
    """An objective with all its settings, and the kind of encoder that it is trained around."""

    name: str
    objective: Mapping[str, Any]
    encoder: Mapping[str, Any]
    kind: str
    data: Mapping[str, Any]  # without a manifest; `batch_seconds` only where it needs large batches
    train: Mapping[str, Any]  # without a length
    second: Mapping[str, Any] = field(default_factory=dict)  # settings of a second iteration
    trained: bool = True
    stages: tuple[str, ...] = ("pretrain", "measure", "finetune")
    watched: tuple[str, ...] = ()  # figures of the log of which rows are made
    pool: str | None = None  # whose methods are given the same number of updates, not the same time

    def varied(self, words: Sequence[str], **changes: Any) -> "Method":
        """With `key.path=value` laid over the settings, as on the command line, and other changes."""
        settings = {name: getattr(self, name) for name in ("objective", "encoder", "data", "train")}
        return replace(self, **override(settings, words), **changes)

    def batch_seconds(self, processes: int) -> float:
        """Of each process: the demo's, or a share of the large batch."""
        if "batch_seconds" in self.data:
            return float(self.data["batch_seconds"]) / processes
        return float(load(shipped(SHARED))["data"]["batch_seconds"])

    def config(
        self, *, out: str, manifest: str, processes: int, seed: int, steps: int, changes: Mapping[str, Any]
    ) -> PretrainConfig:
        """A pretraining run of so many updates; `changes` are laid over the objective's settings."""
        following = {key: steps for key in IN_UPDATES if key in self.objective}
        settings = {
            "seed": seed,
            "out": out,
            "data": {**self.data, "manifest": manifest, "batch_seconds": self.batch_seconds(processes)},
            "encoder": self.encoder,
            "objective": {**self.objective, **following, **changes},
            "train": {
                **self.train, "steps": steps, "processes": processes, "checkpoint_every": 0.25, "keep": 1
            },
        }  # fmt: skip
        return convert(settings, PretrainConfig)


@dataclass(frozen=True)
class Bound:
    """Features that need no training, which are measured and not fine-tuned."""

    name: str
    make: Callable[[], Upstream]
    stages: tuple[str, ...] = ("measure",)


def stacked() -> Frontend:
    """The frames that the shared encoder is given."""
    return build(convert(load(shipped(SHARED))["encoder"], EncoderConfig)).frontend


# Published models, whose weights are not shipped, come beside them by `--upstream NAME=FOLDER`.
BOUNDS: dict[str, Callable[[], Upstream]] = {
    "log-mel": log_mel,
    "log-mel stacked": stacked,
    "MFCC": mfcc,
}

Contestant = Method | Bound | Recogniser


def known() -> list[str]:
    """All that there are: the methods and other small configurations of theirs (PASE+ is one), their second
    iterations, and the bounds."""
    methods = [name for name in names() if name not in SUPERVISED]
    methods += [name for name in shipped_names() if not (name in names() or OTHERS.search(name))]
    second = [second_name(name) for name in SECOND if name in methods]
    return [*sorted([*methods, *second]), *UNTRAINED, *BOUNDS]


def published(words: Sequence[str]) -> list[Bound]:
    """Bounds from words like `NAME=FOLDER`. ConfigError: a word is none, its name is taken, or its folder is
    not there."""
    found = dict[str, Bound]()
    for word in words:
        name, _, folder = word.partition("=")
        if not (name and folder and Path(folder).is_dir()):
            raise ConfigError(f"--upstream: {word!r}: expected NAME=FOLDER, of a folder that is there")
        if name in known() or name in found:
            raise ConfigError(f"--upstream: {name!r} is a contestant already (give another name)")
        found[name] = Bound(name, partial(load_upstream, Path(folder).resolve()))
    return list(found.values())


def second_name(name: str) -> str:
    return f"{name}, 2nd"


def contestants(wanted: Sequence[str]) -> Iterator[Contestant]:
    """Those of the given names. ConfigError: there is none of that name, or it fits no encoder."""
    for name in wanted:
        if name not in known():
            raise ConfigError(f"--methods: {name!r} is not one of {', '.join(known())}")
        if name in BOUNDS:
            yield Bound(name, BOUNDS[name])
        elif name in UNTRAINED:
            yield replace(method(UNTRAINED[name]), name=name, trained=False)
        else:
            first = name.removesuffix(second_name(""))
            yield replace(method(first), name=name, second=SECOND[first] if first != name else {})


def method(name: str) -> Method:
    """A method around the first encoder that it fits. ConfigError: it fits none, not even its own."""
    own = load(shipped(SMALL.get(name, name)))
    error: ValueError = ConfigError(f"{name}: no encoder to try")
    for kind, encoder in _encoders(own["encoder"]):
        objective = {"name": name} | _rescaled(own["objective"], own["encoder"], encoder)
        try:
            objective_config(objective).build(build(convert(encoder, EncoderConfig)))
        except ValueError as misfit:
            error = misfit
            continue
        length = ("minutes", "steps")
        train = {key: value for key, value in own["train"].items() if key not in length}
        return Method(name, objective, encoder, kind, _data(own.get("data", {})), train)
    raise ConfigError(f"{name}: fits none of the encoders: {error}") from error


def _encoders(own: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What to train around, the shared one first, and how the table calls it."""
    shared, causal = (load(shipped(name))["encoder"] for name in (SHARED, CAUSAL))
    yield f"shared: {_told(shared)}", shared
    for name, context in (("causal", causal["context"]), ("own context", own["context"])):
        encoder = {**shared, "context": context}
        yield f"{name}: {_told(encoder)}", encoder
    yield f"own: {own['frontend']['name']}, {_told(own)}", own


def _told(encoder: Mapping[str, Any]) -> str:
    context = encoder["context"]
    sizes = [str(context[key]) for key in ("layers", "dim") if key in context]
    return f"{context['name']} {' x '.join(sizes)}"


def _rescaled(
    objective: Mapping[str, Any], own: Mapping[str, Any], encoder: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings, with numbers of frames for the encoder's frames in place of the own encoder's."""
    ratio = _frame_seconds(own) / _frame_seconds(encoder)
    return {
        key: max(1, math.floor(value * ratio + 0.5)) if key in IN_FRAMES else value
        for key, value in objective.items()
    }


def _frame_seconds(encoder: Mapping[str, Any]) -> float:
    frontend = build(convert(encoder, EncoderConfig)).frontend
    return frontend.stride / frontend.rate


def _data(own: Mapping[str, Any]) -> dict[str, Any]:
    """How utterances are cut, as the method has it; its batch only if it is larger than others'."""
    usual = DataConfig(manifest="").batch_seconds
    large = own.get("batch_seconds", usual) > usual
    return {key: value for key, value in own.items() if key != "batch_seconds" or large}
