"""One measurement of growth.py, in a process of its own: a task as JSON in, seconds and peak memory out."""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sonorant.asr.transcribe import Recogniser, TranscribeConfig, transcribe
from sonorant.asr.vocabulary import Vocabulary
from sonorant.config import convert
from sonorant.data.dataset import DataConfig, Dataset
from sonorant.data.manifest import Clip, read
from sonorant.encoders.base import Encoder
from sonorant.encoders.build import EncoderConfig, build
from sonorant.evaluate.similarity import compare
from sonorant.evaluate.store import FeatureStore
from sonorant.objectives import ctc
from sonorant.recipes.features import extract, extract_to_score, log_mel
from sonorant.recipes.pretrain import pretrain
from sonorant.recipes.scoring import Plan, measure
from sonorant.recipes.settings import PretrainConfig
from sonorant.types import Padded

SET_UP = 3  # steps that are not counted
VOCABULARY = Vocabulary(tuple("abcdefghijklmnopqrstuvwxyz"))


def planning(task: dict[str, Any]) -> dict[str, float]:
    """A manifest read, and an epoch planned with a speed drawn for each utterance."""
    began = time.perf_counter()
    clips = read(Path(task["manifest"]))
    loaded = time.perf_counter()
    plan = Dataset(clips, DataConfig(manifest="", speeds=(0.9, 1.0, 1.1))).plan(0, 0)
    planned = time.perf_counter()
    assert sum(map(len, (plan[0].indices, plan[-1].indices)))
    return {"seconds": planned - began, "reading": loaded - began, "planning": planned - loaded}


def encoder(task: dict[str, Any]) -> Encoder:
    torch.manual_seed(0)
    return build(convert(task["encoder"], EncoderConfig, path="encoder")).eval()


def transcription(task: dict[str, Any]) -> dict[str, float]:
    """One file to words, greedily, by a recogniser that was never trained: it takes as long."""
    model = ctc.Config(labels=len(VOCABULARY)).build(encoder(task))
    model.eval()

    def log_probabilities(inputs: Padded) -> Padded:
        with torch.inference_mode():
            return model.log_probabilities(inputs)

    recogniser = Recogniser(log_probabilities, model.encoder.frontend, VOCABULARY)
    began = time.perf_counter()
    transcribe(Path(task["audio"]), recogniser, TranscribeConfig())
    return {"seconds": time.perf_counter() - began}


def features(task: dict[str, Any]) -> dict[str, float]:
    """One clip's features: of the encoder, which meets it whole, or log-mel."""
    model = encoder(task) if task["model"] == "encoder" else log_mel()
    clip = Clip("long", task["audio"], samples=round(task["seconds"] * 16000), rate=16000)
    began = time.perf_counter()
    extract(model, [clip], Path(task["out"]), provenance={})
    return {"seconds": time.perf_counter() - began}


def extraction(task: dict[str, Any]) -> dict[str, float]:
    """Features as the label-free score takes them, of all layers, with their targets."""
    model, clips = encoder(task), read(Path(task["manifest"]))
    began = time.perf_counter()
    extract_to_score(model, clips, Path(task["features"]), provenance={})
    return {"seconds": time.perf_counter() - began}


def scoring(task: dict[str, Any]) -> dict[str, float]:
    """The label-free score and the ranks of a layer."""
    return measured(task, Plan())


def labelling(task: dict[str, Any]) -> dict[str, float]:
    """The same, and the labelled bound, the phone probe and the clusters' PNMI."""
    return measured(task, Plan(clips=read(Path(task["manifest"])), clusters=(100,)))


def measured(task: dict[str, Any], plan: Plan) -> dict[str, float]:
    began = time.perf_counter()
    measure(FeatureStore(Path(task["features"])), plan, layers=["layer_1"])
    return {"seconds": time.perf_counter() - began}


def comparison(task: dict[str, Any]) -> dict[str, float]:
    """All measures of every layer against every layer; it takes as long if both are of one model."""
    store = FeatureStore(Path(task["features"]))
    began = time.perf_counter()
    compare(store, store)
    return {"seconds": time.perf_counter() - began}


def decoding(task: dict[str, Any]) -> dict[str, float]:
    """An epoch's batches, decoded and thrown away."""
    config = DataConfig(manifest="", workers=task["workers"], cache_hours=0)
    data = Dataset(read(Path(task["manifest"])), config)
    began = time.perf_counter()
    samples = sum(int(batch.inputs.lengths.sum()) for batch in data.batches(0, 0))
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "rate": samples / 16000 / seconds}


def training(task: dict[str, Any]) -> dict[str, float]:
    """Some steps of BEST-RQ; the median step, and seconds of audio a second."""
    settings = {
        "out": task["out"],
        "data": {"manifest": task["manifest"], "batch_seconds": task["batch_seconds"]},
        "encoder": task["encoder"],
        "objective": {"name": "best_rq"},
        "train": {"steps": SET_UP + task["steps"], "processes": task["processes"], "log_every": 1},
    }
    settings["train"] |= {"checkpoint_every": 1e9}
    pretrain(convert(settings, PretrainConfig), quiet=True)
    lines = (Path(task["out"]) / "metrics.jsonl").read_text().splitlines()
    steps = [row for row in map(json.loads, lines) if "seconds" in row][SET_UP:]
    median = statistics.median(row["seconds"] for row in steps)
    return {"seconds": median, "rate": statistics.mean(row["audio_seconds"] for row in steps) / median}


def peak() -> float:
    """The most memory that this process or one that it started has held, in megabytes."""
    # ru_maxrss of this process itself would begin with what the one that started it has held
    status = Path("/proc/self/status").read_text(encoding="utf8")
    own = int(status.split("VmHWM:")[1].split()[0])
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


if __name__ == "__main__":
    works: dict[str, Callable[[dict[str, Any]], dict[str, float]]] = {
        work.__name__: work
        for work in (
            planning,
            transcription,
            features,
            extraction,
            scoring,
            labelling,
            comparison,
            decoding,
            training,
        )
    }
    task = json.loads(sys.argv[1])
    result = works[task["work"]](task)
    print(json.dumps({**result, "megabytes": peak()}))
