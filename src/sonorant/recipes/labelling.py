"""Pseudo-labels: what a recogniser makes of clips, and how far its confidence is to be trusted."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from sonorant.asr.beam import Scorer
from sonorant.asr.decode import Word
from sonorant.asr.transcribe import Recogniser
from sonorant.config import ConfigError
from sonorant.data.manifest import Clip
from sonorant.evaluate.confidence import Separation, correct, separation
from sonorant.evaluate.wer import character_error_rate
from sonorant.recipes.recognise import heard

BINS = 10  # of the histogram
DOUBTFUL = 1 / 3  # the mean confidence below which labels are not worth learning from


@dataclass(frozen=True)
class Labels:
    """Clips with what a recogniser wrote, those of them that are kept, and the references that there are."""

    clips: list[Clip]
    kept: list[Clip]
    references: Mapping[str, str]  # of the clips' ids, normalised as the recogniser writes

    def separation(self) -> Separation | None:
        """How well confidences part correct from wrong characters; None where nothing tells."""
        known = [clip for clip in self.clips if clip.id in self.references]
        return separation(
            [(clip.confidence or (), correct(self.references[clip.id], clip.text or "")) for clip in known]
        )

    def error_rate(self, clips: Sequence[Clip]) -> float | None:
        """Character errors of those clips that have a reference; None: none has."""
        pairs = [(self.references[clip.id], clip.text or "") for clip in clips if clip.id in self.references]
        return character_error_rate(pairs).rate if any(reference for reference, _ in pairs) else None


def label(
    clips: Sequence[Clip],
    recogniser: Recogniser,
    *,
    keep: float | None = None,
    minimum: float | None = None,
    width: int | None = None,
    scorer: Scorer | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Labels:
    """Write each clip's text with the confidence of each character, and keep those that are sure.

    `keep`: the share of the clips that is kept, the surest first; `minimum`: the least confidence of a clip
    that is kept; without either all are that have a text. ConfigError: both are given, or nothing is kept.
    """
    if keep is not None and minimum is not None:
        raise ConfigError("keep and min-confidence: give one of them (each says alone what is kept)")
    vocabulary = recogniser.vocabulary
    found = dict(heard(clips, recogniser, width=width, scorer=scorer, progress=progress))
    labelled = []
    for clip in clips:
        text, confidence = spelled(found.get(clip.id, ()))
        rounded = [round(each, 4) for each in confidence]
        labelled.append(msgspec.structs.replace(clip, text=text, confidence=rounded))
    kept = chosen(labelled, keep=keep, minimum=minimum)
    if not kept:
        surest = max((sureness(clip) for clip in labelled), default=0.0)
        raise ConfigError(
            f"none of {len(labelled)} clips is kept, the surest having a confidence of {surest:.3f} "
            "(keep more, or train the recogniser longer)"
        )
    references = {clip.id: vocabulary.normalise(clip.text) for clip in clips if clip.text is not None}
    return Labels(labelled, kept, references)


def spelled(words: Sequence[Word]) -> tuple[str, list[float]]:
    """The text, and the confidence of each character; a space is as sure as the less sure one beside it."""
    confidences: list[float] = []
    for word in words:
        if confidences:
            confidences.append(min(confidences[-1], word.characters[0]))
        confidences += word.characters
    return " ".join(word.text for word in words), confidences


def sureness(clip: Clip) -> float:
    """A clip's confidence: the geometric mean of its characters'; 0 where it has no text."""
    if not clip.confidence:
        return 0.0
    return math.exp(sum(math.log(max(each, 1e-10)) for each in clip.confidence) / len(clip.confidence))


def chosen(clips: Sequence[Clip], *, keep: float | None, minimum: float | None) -> list[Clip]:
    """The clips that are kept, in their order; among equally sure ones the first."""
    sure = np.array([sureness(clip) for clip in clips])
    wanted = np.array([bool(clip.text) for clip in clips])
    if minimum is not None:
        wanted &= sure >= minimum
    if keep is not None:
        best = np.argsort(-sure, kind="stable")[: round(keep * len(clips))]
        wanted &= np.isin(np.arange(len(clips)), best)
    return [clip for clip, kept in zip(clips, wanted.tolist(), strict=True) if kept]


def summary(labels: Labels) -> dict[str, Any]:
    """What was labelled and kept, how sure it is, and with references how right."""
    clips, kept = labels.clips, labels.kept
    told: dict[str, Any] = {
        "clips": len(clips),
        "without a word": sum(not clip.text for clip in clips),
        "kept": len(kept),
        "share kept": round(len(kept) / len(clips), 4),
        "hours kept": round(sum(clip.seconds for clip in kept) / 3600, 4),
        "mean confidence": round(float(np.mean([sureness(clip) for clip in clips])), 4),
        "mean confidence kept": round(float(np.mean([sureness(clip) for clip in kept])), 4),
    }
    if labels.references:
        told["CER"] = _rounded(labels.error_rate(clips))
        told["CER kept"] = _rounded(labels.error_rate(kept))
    if (parted := labels.separation()) is not None:
        told["AUROC"] = _rounded(parted.auroc.value)
        told["AUROC low"], told["AUROC high"] = _rounded(parted.auroc.low), _rounded(parted.auroc.high)
        told["confidence of correct characters"] = _rounded(parted.correct)
        told["confidence of wrong characters"] = _rounded(parted.wrong)
    return told


def worth(found: Mapping[str, Any]) -> list[str]:
    """A summary in a line, and a doubt in another."""
    line = f"{found['kept']} of {found['clips']} clips are kept, {60 * found['hours kept']:.1f} min"
    line += f", {found['mean confidence kept']:.0%} sure"
    rates = ((name, found.get(name), form) for name, form in (("CER kept", ".1%"), ("AUROC", ".3f")))
    line += "".join(f", {name} {value:{form}}" for name, value, form in rates if value is not None)
    return [line, *doubts(found)]


def doubts(found: Mapping[str, Any]) -> list[str]:
    """A warning where the labels of a summary are hardly more than guesses."""
    if found["mean confidence"] >= DOUBTFUL:
        return []
    sure = f"{found['mean confidence']:.0%} sure over all"
    advice = "train what writes them for longer, or on more transcripts"
    return [f"these labels are hardly more than guesses ({sure}): {advice}"]


def histogram(labels: Labels) -> list[dict[str, Any]]:
    """How many clips are how sure, in ten steps, and the character errors of each where they are known."""
    places = [min(int(sureness(clip) * BINS), BINS - 1) for clip in labels.clips]
    rows = []
    for place in range(BINS):
        members = [clip for clip, each in zip(labels.clips, places, strict=True) if each == place]
        bounds = f"{place / BINS:.1f} to {(place + 1) / BINS:.1f}"
        rows.append(
            {"confidence": bounds, "clips": len(members), "CER": _rounded(labels.error_rate(members))}
        )
    return rows


def picture(rows: Sequence[Mapping[str, Any]]) -> str:
    """The histogram for a terminal."""
    most = max(row["clips"] for row in rows)
    lines = ["confidence   clips"]
    for row in rows:
        bar = "#" * math.ceil(30 * row["clips"] / most)
        rate = "" if row["CER"] is None else f"  CER {row['CER']:.1%}"
        lines.append(f"{row['confidence']}  {row['clips']:7d}  {bar:30s}{rate}".rstrip())
    return "\n".join(lines)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
