"""What cjt.py looks into: how like layers are to those of a network that learned from real pairs, and what
confidences are worth.

Layers: PWCCA of each layer with the same one of the reference, on the test part's speech; the reference's
directions weigh. Its floor is the same with frames of other utterances. Confidences: how many right and how
many wrong characters of the labels of the other speech are how sure, and the AUROC. Labels of joint training
are there already; those of the network of pseudo-labels alone, the control, are written here.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from comparisons import rewrite
from contest.joint import (
    AUROC,
    CJT,
    EXPERIMENT,
    PLUS,
    REFERENCE,
    SEED,
    SPEECH_ONLY,
    TEXT_ONLY,
    VARIANTS,
    Setup,
)
from sonorant.data.manifest import read
from sonorant.evaluate.confidence import correct
from sonorant.evaluate.rows import Row, read_rows
from sonorant.evaluate.store import FeatureStore
from sonorant.recipes.cjt import SPEECH
from sonorant.recipes.comparing import CONTROL, compare
from sonorant.recipes.features import extract
from sonorant.recipes.fit import say
from sonorant.recipes.labelling import BINS, Labels, label, summary
from sonorant.recipes.measuring import Measurer
from sonorant.recipes.recognise import load_recogniser
from sonorant.recipes.settings import best_checkpoint, load_encoder
from sonorant.recipes.stages import done

PWCCA, RIGHT, WRONG = "PWCCA", "right characters", "wrong characters"
RUNS = {SEED: "seed", SPEECH_ONLY: "joint", TEXT_ONLY: "joint", CJT: "joint", PLUS: "joint_2"}
WRITTEN = {SEED: "pseudo.jsonl", CJT: "pseudo_2.jsonl"}  # the labels by a variant's network
WRITERS = (SEED, SPEECH_ONLY, CJT)


def layer_rows(setup: Setup, variant: str, seed: int) -> list[Row]:
    """How like a variant's layers are to the reference's; none unless both have ended."""
    run, reference = setup.folder(variant, seed) / RUNS[variant], setup.folder(REFERENCE, seed)
    if not (done(run) and done(reference)):
        return []
    return _kept(setup, variant, "layers", seed, lambda: _alike(setup, variant, seed, reference, run))


def confidence_rows(setup: Setup, variant: str, seed: int) -> list[Row]:
    """What the confidences of the labels by a variant's network are worth; none where it wrote none."""
    if variant not in WRITERS:
        return []
    return _kept(setup, variant, "confidences", seed, lambda: _confidences(setup, variant, seed))


ANALYSES = (layer_rows, confidence_rows)


def sure(kind: str, place: int) -> str:
    """The metric of a histogram's bar."""
    return f"{kind}, {place / BINS:.1f} to {(place + 1) / BINS:.1f} sure"


def _kept(setup: Setup, variant: str, what: str, seed: int, find: Callable[[], list[Row]]) -> list[Row]:
    file = setup.rows(f"{variant}, {what}", seed)
    if not file.exists():
        found = find()
        if not found:
            return []
        rewrite(file, found)
    return read_rows(file)


def _alike(setup: Setup, variant: str, seed: int, reference: Path, run: Path) -> list[Row]:
    """Each layer by itself, since intervals are for the layer that is most like it."""
    say(f"== layers of {variant}, seed {seed}")
    measurer, subject, rows = Measurer("cjt", seed), EXPERIMENT.subject(variant), []
    with tempfile.TemporaryDirectory(dir=setup.root) as name:
        first, second = Path(name, "reference"), Path(name, "variant")
        for network, out in ((reference, first), (run, second)):
            encoder = load_encoder(best_checkpoint(network))
            extract(encoder, read(setup.corpus / "test.jsonl"), out, provenance={})
        for layer in FeatureStore(first).layers:
            if layer == "frontend":  # what it learns is seen in the layers; log-mel learns nothing
                continue
            found = compare(first, second, layers=[layer], measures=["pwcca"], seed=seed)
            ((value,),), ((floor,),), (best,) = (
                found.values["pwcca"],
                found.floors["pwcca"],
                found.best["pwcca"],
            )
            metric, n = f"{PWCCA} {layer}", found.utterances
            rows += [
                measurer.row(subject, setup.part, metric, value, low=best.low, high=best.high, n=n),
                measurer.row(subject, setup.part, f"{metric}, {CONTROL}", floor, n=n),
            ]
    return rows


def _confidences(setup: Setup, variant: str, seed: int) -> list[Row]:
    labels = _labels(setup, variant, seed)
    if labels is None or not labels.references:
        return []
    measurer, subject = Measurer("cjt", seed), EXPERIMENT.subject(variant)
    figures, rows = summary(labels), []
    if "AUROC" in figures:
        low, high = figures["AUROC low"], figures["AUROC high"]
        rows.append(measurer.row(subject, setup.part, AUROC, figures["AUROC"], low=low, high=high))
    for kind, counts in zip((RIGHT, WRONG), _histograms(labels), strict=True):
        rows += [
            measurer.row(subject, setup.part, sure(kind, place), count) for place, count in enumerate(counts)
        ]
    return rows


def _labels(setup: Setup, variant: str, seed: int) -> Labels | None:
    """What a variant's network wrote for the other speech; the control's is written now."""
    if variant == SPEECH_ONLY:
        run = setup.folder(variant, seed) / RUNS[variant]
        if not done(run):
            return None
        say(f"== labels by {variant}, seed {seed}")
        return label(read(run.parent / SPEECH), load_recogniser(run))
    files = (setup.folder(each, seed) / WRITTEN[variant] for each in VARIANTS)
    file = next((each for each in files if done(each)), None)
    if file is None:
        return None
    clips, vocabulary = list(read(file)), load_recogniser(file.parent / "seed").vocabulary
    speech = read(file.parent / SPEECH)
    references = {clip.id: vocabulary.normalise(clip.text) for clip in speech if clip.text is not None}
    return Labels(clips, clips, references)


def _histograms(labels: Labels) -> tuple[Sequence[int], Sequence[int]]:
    """How many right and how many wrong characters are how sure, in `BINS` steps."""
    scores: list[float] = []
    right: list[bool] = []
    for clip in labels.clips:
        if clip.id in labels.references:
            scores += clip.confidence or ()
            right += correct(labels.references[clip.id], clip.text or "")
    values, places = np.array(scores), np.array(right, dtype=bool)
    of_right, of_wrong = (
        np.histogram(each, bins=BINS, range=(0, 1))[0].tolist() for each in (values[places], values[~places])
    )
    return of_right, of_wrong
