"""The frame probe: how often a classifier on a layer names the unit spoken at a frame's centre.

It is linear, or has one hidden layer (`ProbeConfig.hidden`). The same probe for any features: frames
standardised with the training frames' mean and deviation, the learning rate swept and the moment to stop
chosen on validation utterances, accuracy on test utterances. Silence (`SIL`, or what no unit covers) is a
class like the others; since it is easy and frequent, its share and the accuracy without it are reported, and
so is what naming the commonest training label would give. A test frame whose label is in no training
utterance counts as wrong.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sonorant.data.manifest import Clip
from sonorant.evaluate.labels import SILENCE, labelled_frames
from sonorant.evaluate.linear import ProbeConfig, fit
from sonorant.evaluate.sampling import Parts, interval, resamples
from sonorant.evaluate.store import FeatureStore


@dataclass(frozen=True)
class Accuracy:
    """The share of test frames named right, with its 95 % interval over test utterances."""

    layer: str
    accuracy: float
    low: float
    high: float
    speech_accuracy: float  # without frames of silence; 0 if there are no others
    silence: float  # share of the test frames
    commonest: float  # accuracy of naming the commonest training label everywhere
    classes: int  # labels in training, silence among them
    unseen: int  # test frames whose label is in no training utterance
    train_frames: int
    test_frames: int
    test_utterances: int
    learning_rate: float
    sweep: dict[float, float]  # validation cross-entropy in nats of each learning rate
    seed: int
    seconds: float  # of wall time


def probe(
    store: FeatureStore,
    layer: str,
    clips: Iterable[Clip],
    config: ProbeConfig | None = None,
    *,
    parts: Parts | None = None,
) -> Accuracy:
    """The accuracy of a probe on a layer's frames with the labels of their clips' `units`.

    Without `parts` (of a corpus's own manifests, say), the utterances that have units are split by a hash of
    their ids. ValueError: no utterance has units, or too few are there to split.
    """
    started = time.perf_counter()
    config = config or ProbeConfig()
    frames = labelled_frames(store, layer, clips, parts=parts, limit=config.frames, seed=config.seed)
    train, validation, test = frames.sections.train, frames.sections.validation, frames.sections.test
    # one class more than training has: no frame is of it, but validation is charged for its unseen labels
    fitted = fit(train, validation, classes=len(frames.names) + 1, config=config)
    named = fitted.log_probabilities(test.frames)[:, : len(frames.names)].argmax(1)
    right = named == test.labels
    speech = torch.ones_like(right)
    if SILENCE in frames.names:
        speech = test.labels != frames.names.index(SILENCE)
    low, high = _interval(right, test.utterances, seed=config.seed)
    return Accuracy(
        layer=layer,
        accuracy=right.double().mean().item(),
        low=low,
        high=high,
        speech_accuracy=right[speech].double().mean().item() if speech.any() else 0.0,
        silence=1 - speech.double().mean().item(),
        commonest=(test.labels == train.labels.bincount().argmax()).double().mean().item(),
        classes=len(frames.names),
        unseen=frames.unseen,
        train_frames=len(train.labels),
        test_frames=len(test.labels),
        test_utterances=len(test.utterances.unique()),
        learning_rate=fitted.learning_rate,
        sweep=fitted.sweep,
        seed=config.seed,
        seconds=time.perf_counter() - started,
    )


def _interval(right: Bool[Tensor, " n"], utterances: Int[Tensor, " n"], *, seed: int) -> tuple[float, float]:
    """Of the accuracy, over bootstrap samples of whole utterances: frames of one are not independent."""
    _, owners = utterances.unique(return_inverse=True)
    counts = owners.bincount().double()
    hits = torch.zeros_like(counts).index_add_(0, owners, right.double())
    draws = resamples(len(counts), seed=seed)
    return interval(draws @ hits / (draws @ counts))
