"""Features and transcripts by engine and precision, in one run on one machine, pass by pass in turn.

    python benchmarks/inference.py --run demo/15min-seed0/finetuned --manifest demo/corpus/test.jsonl
    python benchmarks/inference.py --sizes tiny base          # untrained networks on the test fixtures
    python benchmarks/inference.py --sizes tiny --rounds 3 --minutes 1 --dry

A pass goes from files to features or transcripts. Real-time factors are wall seconds over audio seconds;
beside them stand the character error rate (with --run), the relative error of the features against PyTorch
in fp32, and the most memory that the process held. Where `make peers` has put faster-whisper, that
transcribes the same clips beside a run, with Whisper tiny.en: another model, learned from 680,000 hours,
for scale. Rows go to results/inference-DATE.jsonl, with a page.
Needs the extra `onnx`. Fewer threads: OMP_NUM_THREADS=1.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "sides"))

from infer import ENCODERS, encoder, recogniser, windows  # noqa: E402

from contest.whisper import has_whisper, pairs  # noqa: E402
from sonorant.data.manifest import read, write  # noqa: E402
from sonorant.evaluate.rows import Row, table, write_rows  # noqa: E402
from sonorant.evaluate.wer import character_error_rate  # noqa: E402
from sonorant.nn.int8 import has_vnni  # noqa: E402
from sonorant.recipes.export import Features, LogProbabilities, write_network  # noqa: E402
from sonorant.recipes.features import first_minutes  # noqa: E402
from sonorant.recipes.measuring import Measurer  # noqa: E402
from sonorant.recipes.onnx import FEATURES, LOG_PROBABILITIES  # noqa: E402
from speed import RESULTS, SPEECH  # noqa: E402
from turns import PEERS, SIDES, Side, SideError  # noqa: E402

ENGINES = [("pytorch", "fp32"), ("pytorch", "bf16"), ("pytorch", "int8"), ("onnx", "fp32"), ("onnx", "int8")]
WHISPER = [("faster-whisper", "fp32"), ("faster-whisper", "int8")]
WORKS = ("features", "transcripts")


@contextmanager
def side(task: dict[str, Any]) -> Iterator[Side]:
    """Starts an engine, waits until it is warm, and ends it."""
    python, script = sys.executable, SIDES / "infer.py"
    if task["engine"] == "faster-whisper":
        python, script = str(PEERS / "whisper" / "bin" / "python"), SIDES / "peer_whisper.py"
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [python, str(script), json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(task["threads"])},
        )
        try:
            started = Side(f"{task['engine']} {task['precision']}", process, errors)
            try:
                started.told()
            except SideError as error:
                sys.exit(str(error))
            yield started
        finally:
            process.kill()
            process.wait()


def exported(subject: str, work: str, precision: str, folder: Path) -> Path:
    """The network of a run or a size as ONNX."""
    file = folder / f"{work}-{precision}.onnx"
    if work == "features":
        model = encoder(subject)
        network = Features(model, f"layer_{len(list(model.context.layers)) - 1}")
        write_network(network, file, FEATURES, _told(windows(model)), precision=precision)
    else:
        whole, vocabulary = recogniser(subject)
        labels = {
            "characters": json.dumps(vocabulary.characters),
            "normalisation": vocabulary.normalisation,
        }
        told = _told(windows(whole.encoder)) | labels
        write_network(LogProbabilities(whole), file, LOG_PROBABILITIES, told, precision=precision)
    return file


def _told(found: Any) -> dict[str, str]:
    return {key: str(getattr(found, key)) for key in ("rate", "stride", "window")}


def compare(subject: str, work: str, manifest: Path, folder: Path, rounds: int) -> Iterator[dict[str, Any]]:
    """Every engine over the same clips, in turn; a result for each."""
    seconds = sum(clip.seconds for clip in read(manifest))
    with ExitStack() as stack:
        sides: list[tuple[dict[str, Any], Side]] = []
        for engine, precision in engines(subject, work):
            if (engine, precision) == ("pytorch", "int8") and not has_vnni():
                print("pytorch int8 is left out: the processor has no VNNI", file=sys.stderr)
                continue
            task = {
                "work": work,
                "subject": subject,
                "engine": engine,
                "precision": precision,
                "manifest": str(manifest),
                "batch_seconds": 60.0,
                "threads": torch.get_num_threads(),
                "out": str(folder / f"{engine}-{precision}.npy"),
            }
            if engine == "onnx":
                task["file"] = str(exported(subject, work, precision, folder))
            sides.append((task, stack.enter_context(side(task))))
        for _ in range(rounds):
            for _, each in sides:
                each.step()
        for task, each in sides:
            factors = np.array(each.seconds) / seconds
            low, high = interval(factors)
            yield {
                "subject": each.name
                if task["engine"] == "faster-whisper"
                else f"{Path(subject).name}, {each.name}",
                "work": work,
                "factor": float(np.median(factors)),
                "low": low,
                "high": high,
                "rounds": rounds,
                "megabytes": each.megabytes,
                "cer": _cer(task, each) if work == "transcripts" and subject not in ENCODERS else None,
                "error": _error(folder, task) if work == "features" else None,
                "clips": len(read(manifest)),
            }


def engines(subject: str, work: str) -> list[tuple[str, str]]:
    """faster-whisper beside what is trained to transcribe."""
    beside = work == "transcripts" and subject not in ENCODERS and has_whisper()
    return ENGINES + WHISPER if beside else ENGINES


def _cer(task: dict[str, Any], each: Side) -> float:
    """What the side tells, or of what it understood of stretches of several clips."""
    if task["engine"] != "faster-whisper":
        return each.value
    return character_error_rate(pairs(Path(task["manifest"]), Path(task["out"]))).rate


def _error(folder: Path, task: dict[str, Any]) -> float:
    """The distance of the features from PyTorch's in fp32, over their length."""
    exact, found = np.load(folder / "pytorch-fp32.npy"), np.load(task["out"])
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the median, by drawing passes again."""
    drawn = np.random.default_rng(0).integers(len(values), size=(2000, len(values)))
    low, high = np.quantile(np.median(values[drawn], axis=1), [0.025, 0.975])
    return float(low), float(high)


def rows(result: dict[str, Any]) -> Iterator[Row]:
    measurer, subject, work = Measurer("inference"), result["subject"], result["work"]
    low, high = result["low"], result["high"]
    yield measurer.row(
        subject, work, "real-time factor", result["factor"], low=low, high=high, n=result["rounds"]
    )
    yield measurer.row(subject, work, "peak megabytes", result["megabytes"])
    if result["cer"] is not None:
        yield measurer.row(subject, work, "CER", result["cer"], n=result["clips"])
    if result["error"] is not None:
        yield measurer.row(subject, work, "relative error", result["error"], n=result["clips"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="a fine-tuned run")
    parser.add_argument("--sizes", nargs="*", choices=list(ENCODERS), default=[], help="untrained networks")
    parser.add_argument("--manifest", type=Path, default=SPEECH / "manifest.jsonl")
    parser.add_argument("--minutes", type=float, default=20.0, help="of the manifest, at most")
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--dry", action="store_true", help="nothing is written")
    options = parser.parse_args()
    subjects = ([str(options.run)] if options.run else []) + options.sizes
    if not subjects:
        parser.error("give --run or --sizes")
    written: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "clips.jsonl"
        write(manifest, first_minutes(read(options.manifest), options.minutes))
        for subject in subjects:
            for work in options.works:
                for result in compare(subject, work, manifest, Path(folder), options.rounds):
                    written += rows(result)
                    print(json.dumps(result), flush=True)
    if not options.dry:
        file = RESULTS / f"inference-{datetime.now(UTC):%Y-%m-%d}.jsonl"
        write_rows(file, written)
        command = " ".join(["python benchmarks/inference.py", *sys.argv[1:]])
        head = f"# Inference\n\n`{command}`, commit {written[0].commit}, {written[0].machine}.\n\n"
        file.with_suffix(".md").write_text(head + table(written) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
