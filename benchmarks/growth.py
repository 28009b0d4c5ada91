"""How time and memory grow: with utterances, audio, batches, models, workers, processes and what is measured.

    python benchmarks/growth.py                          # everything; about 25 minutes on two idle cores
    python benchmarks/growth.py --parts planning length  # some of it
    python benchmarks/growth.py --quick                  # the small end of everything; nothing is written

Rows go to results/growth-DATE.jsonl, with a page and a picture beside. Each figure is one run in a process of
its own, so that its peak memory is its own; Python and PyTorch alone take some hundred megabytes of it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import soundfile
from matplotlib.figure import Figure

from sonorant import corpora
from sonorant.config import convert
from sonorant.data.audio import load
from sonorant.data.manifest import read, write
from sonorant.encoders.build import EncoderConfig, build
from sonorant.evaluate.rows import Row, table, write_rows
from sonorant.recipes.measuring import Measurer

HERE = Path(__file__).parent
RESULTS, SPEECH = HERE / "results", HERE.parent / "tests" / "fixtures" / "speech"
RATE = 16000
UTTERANCES, SECONDS = 360, 10  # of the corpus that is decoded and trained on: an hour
SMALL = {"dim": 256, "layers": 6, "heads": 4, "kernel": 15}
MODELS = {
    "tiny": {"dim": 128, "layers": 4, "heads": 4, "kernel": 15},
    "small": SMALL,
    "large": {"dim": 512, "layers": 12, "heads": 8, "kernel": 31},
}
MEASURED = {
    "extraction": "hours, extract --to-score",
    "scoring": "hours, measure a layer",
    "labelling": "hours, measure a layer's phones and clusters",
    "comparison": "hours, compare all layers",
}
WHOLE = 600.0  # seconds of the longest clip that the encoder meets whole: its attention grows with the square


class Point(NamedTuple):
    """What to measure: a curve, where on it, and the task."""

    curve: str
    at: float
    task: dict[str, Any]


def encoder(sizes: dict[str, int] = SMALL) -> dict[str, Any]:
    return {"frontend": {"name": "log_mel", "stack": 4}, "context": {"name": "conformer", **sizes}}


def planning(folder: Path, quick: bool) -> Iterator[Point]:
    """Utterances of a manifest that is read and of an epoch that is planned."""
    for power in (4, 5) if quick else (4, 5, 6, 7):
        path = folder / "many.jsonl"
        lengths = np.random.default_rng(0).integers(1 * RATE, 15 * RATE, 10**power).tolist()
        with path.open("w") as file:
            file.writelines(
                f'{{"id":"speaker-{number % 5000:04d}/{number:08d}","path":"audio/{number % 1000:03d}/'
                f'{number:08d}.flac","samples":{samples},"rate":{RATE},"text":"the quick brown fox"}}\n'
                for number, samples in enumerate(lengths)
            )
        yield Point("read and plan", 10**power, {"work": "planning", "manifest": str(path)})
        path.unlink()


def length(folder: Path, quick: bool) -> Iterator[Point]:
    """Seconds of one recording that is transcribed, and of one whose features are written."""
    speech = joined()
    for seconds in (5, 60) if quick else (5, 60, 600, 3600, 10800):
        path = folder / "long.flac"
        with soundfile.SoundFile(path, "w", RATE, 1) as file:
            for start in range(0, seconds * RATE, len(speech)):
                file.write(speech[: seconds * RATE - start])
        task = {"audio": str(path), "encoder": encoder(), "seconds": seconds}
        yield Point("transcribe", seconds, {**task, "work": "transcription"})
        for model in ("encoder", "log-mel"):
            if model == "log-mel" or seconds <= WHOLE:
                out = str(folder / f"features-{model}-{seconds}")
                yield Point(
                    f"features, {model}", seconds, {**task, "work": "features", "model": model, "out": out}
                )
        path.unlink()


def batch(folder: Path, quick: bool) -> Iterator[Point]:
    """Seconds of audio in a batch that is trained on."""
    yield from trained(folder, "batch seconds", (15, 30) if quick else (15, 30, 60, 120, 240), quick)


def model(folder: Path, quick: bool) -> Iterator[Point]:
    """Sizes of the network that is trained, by its weights in millions."""
    for name in ("tiny",) if quick else MODELS:
        sizes = MODELS[name]
        network = build(convert(encoder(sizes), EncoderConfig, path="encoder"))
        weights = round(sum(each.numel() for each in network.parameters()) / 1e6, 1)
        yield from trained(folder, "million weights", (weights,), quick, encoder=encoder(sizes))


def workers(folder: Path, quick: bool) -> Iterator[Point]:
    """Threads that decode, from files and from an archive."""
    for source in ("files", "archive"):
        for count in (0, 2) if quick else (0, 1, 2, 4):
            task = {"work": "decoding", "manifest": str(corpus(folder, source, quick)), "workers": count}
            yield Point(f"decode {source}", count, task)


def processes(folder: Path, quick: bool) -> Iterator[Point]:
    """Processes that train together, each with a batch of its own."""
    yield from trained(folder, "processes", range(1, (os.cpu_count() or 1) + 1), quick)


def measuring(folder: Path, quick: bool) -> Iterator[Point]:
    """Hours of speech whose features are written and measured: of four layers; phones are made up."""
    clips = list(read(corpus(folder, "files", quick)))
    phones = [(f"p{number % 40:02d}", number / 10, (number + 1) / 10) for number in range(10 * SECONDS)]
    sizes = MODELS["tiny"] if quick else MODELS["small"] | {"layers": 4}
    for hours in (0.1, 0.2) if quick else (0.25, 1, 4):
        features, manifest = folder / f"features-{hours}", folder / "repeated.jsonl"
        write(
            manifest,
            (
                msgspec.structs.replace(clips[number % len(clips)], id=f"{number:06d}", units=phones)
                for number in range(round(hours * 3600 / SECONDS))
            ),
        )
        task = {"manifest": str(manifest), "features": str(features), "encoder": encoder(sizes)}
        for work, curve in MEASURED.items():
            yield Point(curve, hours, {**task, "work": work})
        shutil.rmtree(features)


def trained(
    folder: Path, curve: str, places: Sequence[float], quick: bool, **changes: Any
) -> Iterator[Point]:
    for number, place in enumerate(places):
        task = {
            "work": "training",
            "manifest": str(corpus(folder, "files", quick)),
            "encoder": encoder(MODELS["tiny"] if quick else SMALL),
            "steps": 3 if quick else 12,
            "batch_seconds": place if curve == "batch seconds" else 30,
            "processes": int(place) if curve == "processes" else 1,
            "out": tempfile.mkdtemp(prefix=f"{number}-", dir=folder) + "/run",
        }
        yield Point(f"train, {curve}", place, task | changes)


PARTS: dict[str, Callable[[Path, bool], Iterator[Point]]] = {
    part.__name__: part for part in (planning, length, batch, model, workers, processes, measuring)
}


def joined() -> np.ndarray:
    """The test fixtures one behind the other."""
    clips = read(SPEECH / "manifest.jsonl")
    return np.concatenate([load(clip, RATE) for clip in clips])


def corpus(folder: Path, source: str, quick: bool) -> Path:
    """An hour cut out of the fixtures, or six minutes, as files or in one archive; made when first needed."""
    manifest, audio = folder / f"{source}.jsonl", folder / "corpus"
    if not audio.exists():
        audio.mkdir()
        speech = joined()
        for number in range(UTTERANCES // 10 if quick else UTTERANCES):
            part = np.roll(speech, -number * RATE)[: SECONDS * RATE]
            soundfile.write(audio / f"{number:04d}.flac", part, RATE)
    if not manifest.exists():
        place = audio
        if source == "archive":
            place = folder / "corpus.tar"
            with tarfile.open(place, "w") as archive:
                for path in sorted(audio.iterdir()):
                    archive.add(path, path.name)
        write(manifest, corpora.read(place, out=folder).clips)
    return manifest


def measured(point: Point) -> dict[str, float]:
    """What a process of its own tells."""
    script = HERE / "sides" / "grown.py"
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(point.task)], stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def rows(point: Point, result: dict[str, float], measurer: Measurer) -> list[Row]:
    """All that was found at a point."""
    found = {"seconds": result["seconds"], "peak megabytes": result["megabytes"]}
    found |= {name: result[name] for name in ("reading", "planning") if name in result}
    if "rate" in result:
        found["seconds of audio a second"] = result["rate"]
    if "audio" in point.task:
        found["real-time factor"] = result["seconds"] / point.at
    task = f"{point.at:g}"
    return [measurer.row(point.curve, task, name, value) for name, value in found.items()]


def picture(written: Sequence[Row], file: Path) -> None:
    """Each curve's time and memory against its size."""
    curves = list(dict.fromkeys(row.subject for row in written))
    figure = Figure(figsize=(7, 2.4 * len(curves)), layout="constrained")
    for axes, curve in zip(figure.subplots(len(curves), 2, squeeze=False), curves, strict=True):
        for panel, metric in zip(axes, ("seconds", "peak megabytes"), strict=True):
            shown = [row for row in written if (row.subject, row.metric) == (curve, metric)]
            places = [float(row.task) for row in shown]
            panel.plot(places, [row.value for row in shown], "o-")
            if min(places) > 0 and max(places) > 30 * min(places):
                panel.set_xscale("log")
                panel.set_yscale("log")
            else:
                panel.set_ylim(0, 1.1 * max(row.value for row in shown))
            panel.set_title(f"{curve}: {metric}", fontsize="small")
            panel.grid(alpha=0.3)
    figure.savefig(file, dpi=100)


def page(written: Sequence[Row], command: str, name: str) -> str:
    """The picture and all figures."""
    where = f"{datetime.now(UTC):%Y-%m-%d}; commit {written[0].commit}; {written[0].machine}"
    return (
        f"# How time and memory grow\n\n`{command}`, {where}.\n\n"
        "Each figure is one run in a process of its own, whose peak memory counts Python and PyTorch. The\n"
        "second column is the curve's size: utterances, seconds or hours of audio, seconds in a batch,\n"
        f"millions of weights, threads or processes. An encoder meets a clip whole up to {WHOLE:g} s.\n\n"
        f"![time and memory of each curve]({name})\n\n{table(written)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="the small end; nothing is written")
    options = parser.parse_args()
    measurer, written = Measurer("growth"), []
    with tempfile.TemporaryDirectory() as folder:
        for part in options.parts:
            for point in PARTS[part](Path(folder), options.quick):
                found = rows(point, measured(point), measurer)
                told = ", ".join(f"{row.metric} {row.value:.4g}" for row in found)
                print(f"{point.curve} {point.at:g}: {told}", flush=True)
                written += found
        if options.quick:
            picture(written, Path(folder) / "growth.png")
            page(written, "", "")
            return
    file = RESULTS / f"growth-{datetime.now(UTC):%Y-%m-%d}.jsonl"
    write_rows(file, written)
    picture(written, file.with_suffix(".png"))
    command = " ".join(["python benchmarks/growth.py", *sys.argv[1:]])
    file.with_suffix(".md").write_text(page(written, command, file.with_suffix(".png").name), encoding="utf8")


if __name__ == "__main__":
    main()
