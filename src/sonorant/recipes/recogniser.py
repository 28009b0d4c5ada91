"""The network of a recogniser: built from settings, read from a run, and going on from another one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sonorant.asr.subwords import load_vocabulary
from sonorant.asr.vocabulary import Spelling
from sonorant.config import ConfigError
from sonorant.objective import Objective, ObjectiveConfig, objective_config
from sonorant.objectives.ctc import CTC
from sonorant.objectives.seq2seq import Seq2Seq
from sonorant.recipes.settings import best_checkpoint, load_encoder
from sonorant.train import checkpoint
from sonorant.train.average import Average

VOCABULARY = "vocabulary.json"
RECOGNISERS = ("ctc", "seq2seq")
NARROW = 512  # dimensions of a context: one that has fewer was not pretrained for weeks
OF_A_RUN = ("complementary", "teacher", "updates")  # what one training has, and no recogniser


def recogniser_config(settings: Mapping[str, Any], labels: int) -> ObjectiveConfig:
    """The settings of a recogniser, `ctc` where no name is given. ConfigError: it is none."""
    named = {"name": "ctc", **settings, "labels": labels}
    if named["name"] not in RECOGNISERS:
        raise ConfigError(f"objective.name: {named['name']!r} is not one of {', '.join(RECOGNISERS)}")
    return objective_config(named)


def usual_layer(pretrained: Path, encoder: Mapping[str, Any]) -> int | str | None:
    """The `layer` of a recogniser with an encoder of these settings if nobody says: that of the recogniser at
    this checkpoint, or else a weighted sum of a narrow network with attention, and of others the last one.

    Behind a linear head on what the last layer of a small Conformer knows CTC goes on writing blanks;
    recurrent networks lose by the sum (docs/recognisers.md).
    """
    settings = checkpoint.read_config(pretrained)
    if "pretrained" in settings:
        layer: int | str | None = settings["objective"].get("layer")
        return layer
    context = encoder["context"]
    return "weighted" if "heads" in context and context["dim"] < NARROW else None


def load_network(path: Path) -> tuple[CTC | Seq2Seq, Spelling]:
    """The network and the labels of a fine-tuning run or checkpoint. ConfigError: it is not one."""
    folder = best_checkpoint(path)
    settings = checkpoint.read_config(folder)
    if "pretrained" not in settings:
        raise ConfigError(f"{path}: a pretraining run; fine-tune it first (sonorant finetune --help)")
    vocabulary = load_vocabulary(folder.parent / VOCABULARY)
    encoder = load_encoder(folder, untrained=True)
    objective = recogniser_config(settings["objective"], len(vocabulary)).build(encoder)
    assert isinstance(objective, CTC | Seq2Seq)
    average = Average(objective, 0.0) if (folder / "average.safetensors").exists() else None
    checkpoint.load(folder, objective=objective, average=average)
    if average is not None:
        average.assign(objective)
    objective.complementary = None  # training's alone
    if isinstance(objective, CTC):
        objective.teacher = None  # likewise
    return objective, vocabulary


def go_on(objective: Objective, pretrained: Path, vocabulary: Spelling) -> bool:
    """Gives a recogniser the weights of the one at this checkpoint, the head's too, where that writes the
    same labels with such a head. False: it does not, or it is none, and nothing is changed."""
    known = pretrained.parent / VOCABULARY
    if not known.exists() or load_vocabulary(known) != vocabulary:
        return False
    return begin_with(objective, load_network(pretrained)[0])


@torch.no_grad()
def begin_with(objective: Objective, recogniser: CTC | Seq2Seq) -> bool:
    """Gives a recogniser, and its teacher if it has one, the weights of another. False: it has others."""
    own, given = _weights(objective), _weights(recogniser)
    shapes, others = ({name: value.shape for name, value in each.items()} for each in (own, given))
    if shapes != others:
        return False
    taught = objective.teacher if isinstance(objective, CTC) else None
    for each in (own, {} if taught is None else _weights(taught)):
        for name, value in each.items():
            value.copy_(given[name])
    return True


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {
        name: value for name, value in network.state_dict().items() if name.partition(".")[0] not in OF_A_RUN
    }
