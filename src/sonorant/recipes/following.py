"""A recogniser that goes on learning from speech whose labels a slow copy of itself writes, batch by batch.

Higuchi, Moritz, Le Roux and Hori, "Momentum Pseudo-Labeling for Semi-Supervised Speech Recognition",
Interspeech 2021, https://arxiv.org/abs/2106.08922; that labels are written anew as the student learns,
greedily and without a language model, is also Likhomanenko, Xu, Kahn, Synnaeve and Collobert, "slimIPL",
Interspeech 2021, https://arxiv.org/abs/2010.11524, whose cache of labels is not here. The teacher is that of
`objectives/ctc.py`. How far it reaches is our own rule: half of what it was is forgotten in an epoch.
"""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec

from sonorant.config import ConfigError
from sonorant.data.dataset import Dataset
from sonorant.data.manifest import read
from sonorant.data.mixture import Mixture
from sonorant.recipes import finetune
from sonorant.recipes.fit import Job, fit, say
from sonorant.recipes.settings import FinetuneConfig
from sonorant.train import distributed


def check_teachable(config: FinetuneConfig) -> None:
    """ConfigError: the recogniser is none that a teacher of this kind can be made of."""
    name = config.objective.get("name", "ctc")
    if name != "ctc":
        raise ConfigError(f"teacher ema: needs ctc, whose labels are quickly read, not {name} (--config ctc)")


def learn(config: FinetuneConfig, seed: Path, speech: Path, share: float, *, quiet: bool = False) -> Path:
    """Trains on from the recogniser `seed`, or continues, and gives the best checkpoint.

    `speech` is a manifest whose texts are not looked at, `share` its part of the batches. ConfigError:
    settings or manifests do not go together.
    """
    work = partial(learn, config, seed, speech, share, quiet=True)
    with distributed.session(config.train.processes, work):
        onward = msgspec.structs.replace(config, pretrained=str(seed))
        return fit(job(onward, speech, share, quiet=quiet), quiet=quiet)


def job(config: FinetuneConfig, speech: Path, share: float, *, quiet: bool) -> Job:
    """What such a run trains, on what."""
    heard = Dataset(read(speech), config.data)  # without labels: texts stay unread
    objective = {"momentum": momentum(config, heard, share), **config.objective}
    if objective.get("freeze_context") != "always":
        objective["freeze_context"] = 0  # the head is not new
    made = finetune.job(msgspec.structs.replace(config, objective=objective), quiet=quiet)
    assert isinstance(made.dataset, Dataset)
    minutes = heard.seconds.sum() / 60
    say(
        f"{len(heard.clips)} clips, {minutes:.1f} min, in {share:.0%} of the batches, labelled by a teacher "
        f"of momentum {objective['momentum']:.4g}",
        quiet=quiet,
    )
    return replace(made, dataset=Mixture(made.dataset, heard, share))


def momentum(config: FinetuneConfig, heard: Dataset, share: float) -> float:
    """The teacher's, so that half of its weights is the student's of the last epoch of `heard`."""
    batches = len(heard.plan(config.seed, 0, world=distributed.world()))
    updates = batches / share / config.train.accumulate
    return math.pow(0.5, 1 / max(updates, 1.0))
