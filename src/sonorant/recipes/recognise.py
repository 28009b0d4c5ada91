"""A recogniser from its run folder, and what it makes of files and of manifests."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from numpy import ndarray

from sonorant.asr.beam import Scorer
from sonorant.asr.decode import Token, words
from sonorant.asr.transcribe import Recogniser, TranscribeConfig, tokens, transcribe_blocks
from sonorant.asr.vocabulary import Vocabulary
from sonorant.config import ConfigError
from sonorant.data.audio import clip_blocks
from sonorant.data.dataset import DataConfig, Dataset
from sonorant.data.manifest import Clip
from sonorant.objective import objective_config
from sonorant.objectives.ctc import CTC
from sonorant.recipes.finetune import VOCABULARY
from sonorant.recipes.long import LONG
from sonorant.recipes.onnx import onnx_recogniser
from sonorant.recipes.precision import prepared
from sonorant.recipes.settings import best_checkpoint, load_encoder
from sonorant.train import checkpoint, distributed
from sonorant.train.average import Average
from sonorant.types import Padded


def load_recogniser(path: Path, *, precision: str = "auto") -> Recogniser:
    """The recogniser of a fine-tuning run (its best checkpoint), of one of its checkpoints, or of a `.onnx`
    file, which has its own precision.

    ConfigError: the run is not one of fine-tuning, or the precision cannot be had.
    """
    if path.suffix == ".onnx":
        if precision != "auto":
            raise ConfigError(f"precision: {path} has its own; leave out --precision {precision}")
        return onnx_recogniser(path)
    objective, vocabulary = load_ctc(path)
    device = distributed.device()
    model, computing = prepared(objective, precision, device)

    def log_probabilities(inputs: Padded) -> Padded:
        with computing():
            return model.log_probabilities(inputs.to(device))

    return Recogniser(log_probabilities, objective.encoder.frontend, vocabulary)


def load_ctc(path: Path) -> tuple[CTC, Vocabulary]:
    """The network and the labels of a fine-tuning run or checkpoint. ConfigError: it is not one."""
    folder = best_checkpoint(path)
    settings = checkpoint.read_config(folder)
    if "pretrained" not in settings:
        raise ConfigError(f"{path}: a pretraining run; fine-tune it first (sonorant finetune --help)")
    vocabulary = Vocabulary.load(folder.parent / VOCABULARY)
    encoder = load_encoder(folder, untrained=True)
    method = objective_config({"name": "ctc", **settings["objective"], "labels": len(vocabulary)})
    objective = method.build(encoder)
    assert isinstance(objective, CTC)
    average = Average(objective, 0.0) if (folder / "average.safetensors").exists() else None
    checkpoint.load(folder, objective=objective, average=average)
    if average is not None:
        average.assign(objective)
    return objective, vocabulary


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
    frontend, vocabulary = recogniser.frontend, recogniser.vocabulary
    texts: dict[str, str] = {clip.id: "" for clip in clips}
    audible = [clip for clip in clips if frontend.frames(round(clip.seconds * frontend.rate)) > 0]
    short = [clip for clip in audible if clip.seconds <= LONG]
    done = 0
    for name, frames in posteriors(short, recogniser):
        texts[name] = text(tokens([frames], width, scorer), vocabulary)
        done += 1
        if progress is not None:
            progress(done, len(audible))
    search = TranscribeConfig(beam=width)
    for clip in audible:
        if clip.seconds > LONG:
            audio = clip_blocks(clip, frontend.rate, search.chunk_seconds)
            found = transcribe_blocks(audio, recogniser, search, scorer=scorer)
            texts[clip.id] = " ".join(word.text for word in found)
            done += 1
            if progress is not None:
                progress(done, len(audible))
    hypotheses = [
        Hypothesis(
            id=clip.id,
            path=clip.path,
            reference=None if clip.text is None else vocabulary.normalise(clip.text),
            hypothesis=texts[clip.id],
        )
        for clip in clips
    ]
    return hypotheses, (time.perf_counter() - began) / sum(clip.seconds for clip in clips)


def posteriors(
    clips: Sequence[Clip], recogniser: Recogniser
) -> Iterator[tuple[str, Float[ndarray, "_time labels"]]]:
    """The id and the log probabilities of each clip, in any order."""
    config = DataConfig(manifest="", rate=recogniser.frontend.rate, min_seconds=0, cache_hours=0)
    for batch in Dataset(clips, config).in_order(60.0) if clips else ():
        result = recogniser.log_probabilities(batch.inputs)
        for row, name in enumerate(batch.ids):
            yield name, result.values[row, : int(result.lengths[row])].float().cpu().numpy()


def text(found: Iterable[Token], vocabulary: Vocabulary) -> str:
    """What tokens say."""
    return " ".join(word.text for word in words(found, vocabulary, 1.0))
