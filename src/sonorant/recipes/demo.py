"""The whole way once: real speech in, a measured representation, two recognisers and a report out.

The recordings are those of the Amazon Queen. An encoder is pretrained on the untranscribed part, each saved
checkpoint is scored without labels, and the best one is fine-tuned on ten minutes of transcripts, beside the
same encoder from scratch with the same budget.
"""

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import torch
from safetensors.torch import save_file

from sonorant import corpora
from sonorant.asr.align import align
from sonorant.config import convert, load
from sonorant.data.manifest import Clip, read, write
from sonorant.encoders.base import FRONTEND, Encoder, Upstream
from sonorant.evaluate.information import InformationConfig, Score, label_free
from sonorant.evaluate.linear import ProbeConfig
from sonorant.evaluate.probe import probe
from sonorant.evaluate.rows import Row, write_rows
from sonorant.evaluate.store import FeatureStore
from sonorant.evaluate.wer import character_error_rate, word_error_rate
from sonorant.recipes.features import (
    TARGETS,
    extract,
    extract_to_score,
    first_minutes,
    log_mel,
)
from sonorant.recipes.finetune import finetune
from sonorant.recipes.fit import say
from sonorant.recipes.measuring import Measurer, best_layer, parts
from sonorant.recipes.pretrain import pretrain
from sonorant.recipes.recognise import load_recogniser, recognise
from sonorant.recipes.report import write_report
from sonorant.recipes.settings import FinetuneConfig, PretrainConfig, load_encoder
from sonorant.recipes.shipped import shipped
from sonorant.train.checkpoint import read_state

TRAINING, FINETUNING = 0.84, 0.2  # shares of the minutes: of all training, and of each of two fine-tunings
LONGEST = 4.0  # minutes of fine-tuning: beyond, ten minutes of speech are learned by heart
RATES = (3e-4, 1e-3, 3e-3)  # that the probe may choose from
FITTED = 30.0  # minutes of transcribed training speech whose phones are found, to fit probes on


@dataclass
class Demo:
    """A demo under way: where it writes, its budget in minutes, and the rows that it has measured."""

    corpus: Path
    out: Path
    minutes: float
    seed: int
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.measurer = Measurer("demo", self.seed)

    def origin(self, model: str) -> dict[str, str]:
        """Where features come from."""
        return {"run": str(self.out / "pretrain"), "model": model}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Says what is done and keeps the time that it took."""
        say(f"== {name}")
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self.rows.append(self.measurer.row(name, "time", "seconds", round(seconds, 1)))
        say(f"   {seconds:.0f} s")


def run_demo(corpus: Path, out: Path, *, minutes: float, seed: int) -> list[Row]:
    """Everything, in `out`; the corpus is fetched into `corpus` unless it is there."""
    demo = Demo(corpus, out, minutes, seed)
    out.mkdir(parents=True, exist_ok=True)
    with demo.stage("fetch the recordings"):
        if not (corpus / "all.jsonl").exists():
            corpora.fetch("queen", corpus)
    with demo.stage("align phones to measure with"):
        train, test = aligned(corpus, "paired-1h", FITTED), aligned(corpus, "test")
    with demo.stage("pretrain, score checkpoints"):
        best = pretrain(_pretraining(demo))
    with demo.stage("measure the representation"):
        layer = _measure(demo, best, train, test)
        _picture(demo, layer, test[0])
    length = f"train.minutes={_finetuning_minutes(minutes)}"
    for name, from_scratch in (("finetuned", False), ("scratch", True)):
        with demo.stage(f"train the recogniser: {name}"):
            end = finetune(_finetuning(demo, name, best, from_scratch=from_scratch, length=length))
            length = f"train.steps={read_state(end).total}"  # for both
        with demo.stage(f"transcribe the test part: {name}"):
            _recognise(demo, name)
    (out / "results.jsonl").unlink(missing_ok=True)
    write_rows(out / "results.jsonl", demo.rows)
    say(f"report: {write_report(out)}")
    return demo.rows


def aligned(corpus: Path, name: str, minutes: float = math.inf) -> Sequence[Clip]:
    """Clips of a part, up to so many minutes, with their phones, which are found by aligning where the corpus
    has none; kept, because that takes a while."""
    path = corpus / f"{name}-phones.jsonl"
    if not path.exists():
        clips = first_minutes([clip for clip in read(corpus / f"{name}.jsonl") if clip.text], minutes)
        if clips and all(clip.units for clip in clips):
            write(path, clips)
            return clips
        aligned = align(clips)
        say(f"   {name}: {len(aligned.clips)} clips aligned, {len(aligned.skipped)} left out")
        write(path, aligned.clips)
    return read(path)


def _finetuning_minutes(minutes: float) -> float:
    """Of one recogniser, in a demo of so many minutes; pretraining has the rest of the training."""
    return min(FINETUNING * minutes, LONGEST)


def _pretraining(demo: Demo) -> PretrainConfig:
    settings = load(
        shipped("demo_pretrain"),
        [
            f"seed={demo.seed}",
            f"out={json.dumps(str(demo.out / 'pretrain'))}",
            f"data.manifest={json.dumps(str(demo.corpus / 'untranscribed.jsonl'))}",
            f"score.manifest={json.dumps(str(demo.corpus / 'dev.jsonl'))}",
            "score.minutes=10",
            f"train.minutes={demo.minutes * TRAINING - 2 * _finetuning_minutes(demo.minutes)}",
        ],
    )
    return convert(settings, PretrainConfig)


def _finetuning(
    demo: Demo, name: str, pretrained: Path, *, from_scratch: bool, length: str
) -> FinetuneConfig:
    settings = load(
        shipped("demo_finetune"),
        [
            f"seed={demo.seed}",
            f"out={json.dumps(str(demo.out / name))}",
            f"pretrained={json.dumps(str(pretrained))}",
            f"from_scratch={json.dumps(from_scratch)}",
            f"data.manifest={json.dumps(str(demo.corpus / 'paired-10m.jsonl'))}",
            "train.minutes=null",
            length,
        ],
    )
    return convert(settings, FinetuneConfig)


def _measure(demo: Demo, best: Path, train: Sequence[Clip], test: Sequence[Clip]) -> str:
    """Scores and probes of every layer; gives the one that the label-free score calls best."""
    torch.manual_seed(demo.seed)
    encoders = {"trained": load_encoder(best), "untrained": load_encoder(best, untrained=True)}
    shutil.rmtree(demo.out / "features", ignore_errors=True)  # a run that went on may have another best one
    layer = _score(demo, encoders, train, test)
    _probe(demo, {**encoders, "log-mel": log_mel()}, layer, train, test)
    return layer


def _score(demo: Demo, encoders: Mapping[str, Encoder], train: Sequence[Clip], test: Sequence[Clip]) -> str:
    """The label-free score of every trained layer, and of the best one before training."""
    information, split = InformationConfig(seed=demo.seed), parts(train, test)

    def score(name: str, layer: str) -> Score:
        store = FeatureStore(demo.out / "features" / f"{name} to score")
        targets = FeatureStore(store.path / TARGETS)
        return label_free(store, layer, information, targets=targets, target_layer=FRONTEND, parts=split)

    for name, encoder in encoders.items():
        extract_to_score(
            encoder, [*train, *test], demo.out / "features" / f"{name} to score", provenance=demo.origin(name)
        )
    layers = FeatureStore(demo.out / "features" / "trained to score").layers
    scores = {layer: score("trained", layer) for layer in layers if layer != FRONTEND}
    best = best_layer(scores)
    for layer, found in scores.items():
        demo.rows += demo.measurer.information(f"trained {layer}", found)
    demo.rows += demo.measurer.information(f"untrained {best}", score("untrained", best))
    return best


def _probe(
    demo: Demo,
    encoders: Mapping[str, Upstream],
    best: str,
    train: Sequence[Clip],
    test: Sequence[Clip],
) -> None:
    """The phone probe of every trained layer, of the best one before training, and of log-mel."""
    config, clips = ProbeConfig(seed=demo.seed, learning_rates=RATES), [*train, *test]
    for name, encoder in encoders.items():
        extract(encoder, clips, demo.out / "features" / name, provenance=demo.origin(name))
    stores = {name: FeatureStore(demo.out / "features" / name) for name in encoders}
    trained = [("trained", layer) for layer in stores["trained"].layers]
    for name, layer in [("log-mel", FRONTEND), *trained, ("untrained", best)]:
        found = probe(stores[name], layer, clips, config, parts=parts(train, test))
        demo.rows.append(demo.measurer.accuracy(_subject(name, layer), found))


def _subject(model: str, layer: str) -> str:
    if model == "log-mel":
        return "log-mel"
    return "log-mel stacked" if layer == FRONTEND else f"{model} {layer}"


def _picture(demo: Demo, layer: str, clip: Clip) -> None:
    """A test utterance's spectrogram and the best layer's features, for the report."""
    store, plain = (
        FeatureStore(demo.out / "features" / "trained"),
        FeatureStore(demo.out / "features" / "log-mel"),
    )
    save_file(
        {
            "spectrogram": plain.read(FRONTEND, [clip.id])[0],
            "features": store.read(layer, [clip.id])[0],
        },
        demo.out / "picture.safetensors",
        {"clip": clip.id, "layer": layer, "seconds": f"{clip.seconds:.3f}", "text": clip.text or ""},
    )


def _recognise(demo: Demo, name: str) -> None:
    """Hypotheses of the test part, and their error rates."""
    clips = [clip for clip in read(demo.corpus / "test.jsonl") if clip.text]
    hypotheses, factor = recognise(clips, load_recogniser(demo.out / name))
    lines = (msgspec.json.encode(hypothesis.row()) + b"\n" for hypothesis in hypotheses)
    (demo.out / name / "hypotheses.jsonl").write_bytes(b"".join(lines))
    pairs = [(each.reference or "", each.hypothesis) for each in hypotheses]
    for metric, rate in (("CER", character_error_rate(pairs)), ("WER", word_error_rate(pairs))):
        demo.rows.append(
            demo.measurer.row(
                name, "recognition", metric, rate.rate, low=rate.low, high=rate.high, n=rate.utterances
            )
        )
    demo.rows.append(demo.measurer.row(name, "recognition", "real-time factor", factor, n=len(clips)))


def summary(rows: Sequence[Row]) -> str:
    """The demo's one table, for the terminal."""
    lines = []
    for row in rows:
        if row.metric in ("bits", "share of entropy"):
            continue
        interval = "" if row.low is None or row.high is None else f"  [{row.low:.3f}, {row.high:.3f}]"
        lines.append(f"{row.subject:38s} {row.task:44s} {row.metric:18s} {row.value:9.4f}{interval}")
    return "\n".join(lines)
