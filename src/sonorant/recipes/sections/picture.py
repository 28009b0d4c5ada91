"""One utterance: its spectrogram and what the encoder makes of it."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from safetensors import SafetensorError, safe_open

from sonorant.recipes.sections import plots
from sonorant.recipes.sections.page import ReportError, Section, text
from sonorant.recipes.sections.plots import wide_and_narrow


def picture(run: Path) -> list[Section]:
    """The utterance of `picture.safetensors`. ReportError: the file is there but cannot be read."""
    file = run / "picture.safetensors"
    if not file.exists():
        return []
    about, spectrogram, features = _read(file)
    seconds = float(about["seconds"])

    def draw(size: tuple[int, int]) -> str:
        label = "A spectrogram, and below it the encoder's features"
        return plots.picture(spectrogram, features, seconds=seconds, label=label, size=size)

    caption = f'<q dir="auto">{text(about["text"])}</q> ' if about.get("text") else ""
    told = " · ".join(text(about[each]) for each in ("clip", "layer") if about.get(each))
    return [
        Section(
            "One utterance",
            f"<figure>{wide_and_narrow(draw, height=400)}<figcaption>{caption}<small>{told}. Each row of the "
            "features is a dimension; those that vary alike are neighbours.</small></figcaption></figure>",
        )
    ]


def _read(file: Path) -> tuple[dict[str, str], Float[ndarray, "time mels"], Float[ndarray, "steps dim"]]:
    """What is said of the utterance, its spectrogram and its arranged features."""
    try:
        with safe_open(file, "numpy") as opened:
            about = dict(opened.metadata() or {})
            spectrogram, features = (
                _checked(opened.get_tensor(each)) for each in ("spectrogram", "features")
            )
        _positive(about["seconds"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ReportError(f"{file}: no picture in it: {error} (remove it, or make it again)") from error
    return about, spectrogram, arranged(features)


def _positive(seconds: str) -> None:
    if not 0 < float(seconds) < math.inf:
        raise ValueError(f"it lasts {seconds} s")


def _checked(values: ndarray) -> Float[ndarray, "time dim"]:
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"expected finite values over time and dimensions, got shape {values.shape}")
    return values.astype(np.float64)


def arranged(features: Float[ndarray, "time dim"]) -> Float[ndarray, "time dim"]:
    """Each dimension at mean 0 and deviation 1, those that vary alike beside each other.

    The order is that of the angles of the loadings on the first two principal components.
    """
    centred = features - features.mean(0)
    deviation = centred.std(0)
    standard = centred / np.where(deviation > 0, deviation, 1)
    _, scales, right = np.linalg.svd(standard, full_matrices=False)
    loadings = (scales[:, None] * right)[:2]
    order = np.argsort(np.arctan2(loadings[-1], loadings[0]), kind="stable")
    return np.asarray(standard[:, order])
