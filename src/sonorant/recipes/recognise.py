"""A recogniser from its run folder, and what it makes of files and of manifests."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from jaxtyping import Float
from numpy import ndarray

from sonorant.asr.attention import Attention
from sonorant.asr.beam import Scorer
from sonorant.asr.decode import Word
from sonorant.asr.transcribe import Recogniser, TranscribeConfig, spoken, transcribe_blocks
from sonorant.config import ConfigError
from sonorant.data.audio import clip_blocks
from sonorant.data.dataset import DataConfig, Dataset
from sonorant.data.manifest import Clip
from sonorant.objectives.seq2seq import Seq2Seq
from sonorant.recipes.long import LONG
from sonorant.recipes.onnx import onnx_recogniser
from sonorant.recipes.precision import prepared
from sonorant.recipes.recogniser import load_network
from sonorant.train import distributed
from sonorant.types import Padded


def load_recogniser(path: Path, *, precision: str = "auto", ctc_weight: float | None = None) -> Recogniser:
    """The recogniser of a fine-tuning run (its best checkpoint), of one of its checkpoints, or of a `.onnx`
    file, which has its own precision.

    `ctc_weight`: how much CTC counts beside attention, 0 to 1; None: as in training.

    ConfigError: the run is not one of fine-tuning, the precision cannot be had, or there is no attention.
    """
    if path.suffix == ".onnx":
        if precision != "auto":
            raise ConfigError(f"precision: {path} has its own; leave out --precision {precision}")
        if ctc_weight is not None:
            raise ConfigError(_no_attention(path))
        return onnx_recogniser(path)
    objective, vocabulary = load_network(path)
    device = distributed.device()
    model, computing = prepared(objective, precision, device)
    network = model.frames if isinstance(model, Seq2Seq) else model.log_probabilities

    def log_probabilities(inputs: Padded) -> Padded:
        with computing():
            return network(inputs.to(device))

    decoder = None
    if isinstance(model, Seq2Seq):
        weight = model.config.ctc_weight
        if weight == 0 and ctc_weight:
            raise ConfigError(f"ctc weight: {path} was trained without CTC (leave out --ctc-weight)")
        decoder = Attention(
            decoder=model.decoder,
            labels=len(vocabulary),
            ctc_weight=weight if ctc_weight is None else ctc_weight,
            computing=computing,
            device=device,
        )
    elif ctc_weight is not None:
        raise ConfigError(_no_attention(path))
    return Recogniser(log_probabilities, objective.encoder.frontend, vocabulary, decoder)


def _no_attention(path: Path) -> str:
    return f"ctc weight: {path} has no attention decoder to be weighed against (leave out --ctc-weight)"


@dataclass(frozen=True)
class Hypothesis:
    """What was said, as far as it is known, and what was recognised."""

    id: str
    path: str
    reference: str | None
    hypothesis: str

    def row(self) -> dict[str, Any]:
        return {"id": self.id, "path": self.path, "reference": self.reference, "hypothesis": self.hypothesis}


def recognise(
    clips: Sequence[Clip],
    recogniser: Recogniser,
    *,
    width: int | None = None,
    scorer: Scorer | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Hypothesis], float]:
    """The clips' hypotheses in their order, and the real-time factor: wall seconds over audio seconds.

    Clips of more than a minute are transcribed as files of any length are.

    `width`: prefixes that beam search keeps, with what the scorer knows; None decodes greedily.
    """
    began = time.perf_counter()
    vocabulary = recogniser.vocabulary
    found = heard(clips, recogniser, width=width, scorer=scorer, progress=progress)
    texts = {name: " ".join(word.text for word in each) for name, each in found}
    hypotheses = [
        Hypothesis(
            id=clip.id,
            path=clip.path,
            reference=None if clip.text is None else vocabulary.normalise(clip.text),
            hypothesis=texts.get(clip.id, ""),
        )
        for clip in clips
    ]
    return hypotheses, (time.perf_counter() - began) / sum(clip.seconds for clip in clips)


def heard(
    clips: Sequence[Clip],
    recogniser: Recogniser,
    *,
    width: int | None = None,
    scorer: Scorer | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[str, list[Word]]]:
    """The id and the words of each clip that lasts a frame, in any order; else as `recognise`."""
    frontend = recogniser.frontend
    audible = [clip for clip in clips if frontend.frames(round(clip.seconds * frontend.rate)) > 0]
    found = chain(
        _short([clip for clip in audible if clip.seconds <= LONG], recogniser, width, scorer),
        _long([clip for clip in audible if clip.seconds > LONG], recogniser, width, scorer),
    )
    for done, each in enumerate(found, start=1):
        yield each
        if progress is not None:
            progress(done, len(audible))


def _short(
    clips: Sequence[Clip], recogniser: Recogniser, width: int | None, scorer: Scorer | None
) -> Iterator[tuple[str, list[Word]]]:
    for batch in posteriors(clips, recogniser):
        yield from zip(batch, spoken(list(batch.values()), recogniser, width, scorer), strict=True)


def _long(
    clips: Sequence[Clip], recogniser: Recogniser, width: int | None, scorer: Scorer | None
) -> Iterator[tuple[str, list[Word]]]:
    search = TranscribeConfig(beam=width)
    for clip in clips:
        audio = clip_blocks(clip, recogniser.frontend.rate, search.chunk_seconds)
        yield clip.id, list(transcribe_blocks(audio, recogniser, search, scorer=scorer))


def posteriors(
    clips: Sequence[Clip], recogniser: Recogniser
) -> Iterator[dict[str, Float[ndarray, "_time width"]]]:
    """The frames of clips by their ids, batch by batch, in any order."""
    config = DataConfig(manifest="", rate=recogniser.frontend.rate, min_seconds=0, cache_hours=0)
    for batch in Dataset(clips, config).in_order(60.0) if clips else ():
        result = recogniser.log_probabilities(batch.inputs)
        lengths = result.lengths.tolist()
        yield {
            name: frames[:length].float().cpu().numpy()
            for name, frames, length in zip(batch.ids, result.values, lengths, strict=True)
        }


def said(
    utterances: Sequence[Float[ndarray, "_time width"]],
    recogniser: Recogniser,
    width: int | None,
    scorer: Scorer | None = None,
) -> list[str]:
    """The text of each utterance's frames."""
    found = spoken(utterances, recogniser, width, scorer)
    return [" ".join(word.text for word in each) for each in found]
