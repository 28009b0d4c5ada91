"""Which labels of a text that a recogniser wrote are hidden, by how sure it was of each.

Du et al. 2022 (`encoders/complementary.py` cites it), the label masks of their second round. Of a label with
probability p is hidden

    conf     a share k (1 - p), drawn
    thres    all, if p is below a threshold
    rand     a share that is the same for all, drawn: the control

The draw is a function of the utterance's seed, and so of run, epoch and utterance alone.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from msgspec import Meta

from sonorant.config import Config, ConfigError, convert
from sonorant.data.schedule import derived


class LabelMaskConfig(Config, frozen=True, kw_only=True):
    kind: Literal["conf", "thres", "rand", "none"] = "none"
    scale: Annotated[float, Meta(gt=0)] = 1.0  # k, of conf
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5  # of thres
    rate: Annotated[float, Meta(ge=0, le=1)] = 0.2  # of rand


_NUMBERS = {"conf": "scale", "thres": "threshold", "rand": "rate"}  # the setting of each kind that has one


def label_mask(word: str) -> LabelMaskConfig:
    """`conf`, `thres=0.6`, ... as settings. ConfigError: it is none of them."""
    kind, equals, number = word.partition("=")
    try:
        settings = {_NUMBERS[kind]: float(number)} if equals else {}
        return convert({"kind": kind, **settings}, LabelMaskConfig)
    except (KeyError, ValueError) as error:
        known = "conf, thres, rand or none, or a number with it: conf=1.5, thres=0.6, rand=0.3"
        raise ConfigError(f"--mask: {word!r} is not one of {known}") from error


def label_weights(confidences: Sequence[float], config: LabelMaskConfig, seed: int) -> list[float]:
    """1 for each label that is shown, 0 for each that is hidden."""
    sure = torch.tensor(confidences, dtype=torch.float64)
    chances = {
        "conf": (config.scale * (1 - sure)).clamp(max=1),
        "thres": (sure < config.threshold).double(),
        "rand": torch.full_like(sure, config.rate),
        "none": torch.zeros_like(sure),
    }
    generator = torch.Generator().manual_seed(derived(seed, "label mask"))
    drawn = torch.rand(len(sure), generator=generator, dtype=torch.float64)
    shown: list[float] = (drawn >= chances[config.kind]).float().tolist()
    return shown
