"""SpecAugment's masks on the frames of a front end.

D. S. Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition",
Interspeech 2019, https://arxiv.org/abs/1904.08779, section 2 (without time warping, which the paper finds to
matter least).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Generator


def spec_augment_mask(
    frames: Sequence[int],
    generators: Sequence[Generator],
    *,
    bands: int,
    time_masks: int,
    time_share: float,
    band_masks: int,
    band_share: float,
) -> Bool[torch.Tensor, "batch time bands"]:
    """True where an utterance of so many frames is hidden: `time_masks` stretches of all bands, each up to
    `time_share` of its frames long, and `band_masks` groups of neighbouring bands over all its frames, each
    up to `band_share` of the bands wide. Widths and places are uniform; masks may overlap."""
    mask = torch.zeros(len(frames), max(frames), bands, dtype=torch.bool)
    for row, count, generator in zip(mask, frames, generators, strict=True):
        for _ in range(time_masks):
            row[_stretch(count, time_share, generator)] = True
        for _ in range(band_masks):
            row[:count, _stretch(bands, band_share, generator)] = True
    return mask


def _stretch(size: int, share: float, generator: Generator) -> slice:
    width = int(torch.randint(int(share * size) + 1, (), generator=generator))
    first = int(torch.randint(size - width + 1, (), generator=generator))
    return slice(first, first + width)
