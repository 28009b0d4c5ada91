"""Hours in one file: the memory and the time that transcribing takes, against ten minutes.

    python benchmarks/long.py --run demo/60min-seed0/finetuned --manifest demo/corpus/all.jsonl
    python benchmarks/long.py --run runs/ctc --manifest test.jsonl --minutes 1 3 --dry

The clips are joined, again and again, into one FLAC file of each length, and each is transcribed by a process
of its own: `sonorant transcribe RUN FILE`, with whatever else is given behind `--` (`-- --beam 8`). Peak
megabytes are what the operating system counted for it, real-time factors its processor seconds over audio
seconds. Memory is flat if the longest file's peak is that of the shortest. Rows go to
results/long-DATE.jsonl, with a page.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

import soundfile

from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.evaluate.rows import Row, table, write_rows
from sonorant.recipes.measuring import Measurer
from speed import RESULTS

RATE = 16000
MEGABYTE = 1 << 20
TASK = "transcripts of one file"


def write_long(manifest: Path, minutes: float, file: Path) -> None:
    """The manifest's clips one behind the other, from the first again after the last."""
    left = round(minutes * 60 * RATE)
    with soundfile.SoundFile(file, "w", RATE, 1) as out:
        for clip in cycle(read(manifest)):
            samples = load(clip, RATE)[:left]
            out.write(samples)
            left -= len(samples)
            if not left:
                return


def transcribed(run: Path, file: Path, more: list[str]) -> tuple[float, float, float]:
    """Peak megabytes, processor seconds and wall seconds of a process that transcribes a file."""
    words = ["-m", "sonorant", "transcribe", str(run), str(file), "--out", str(file.parent), *more]
    began = time.perf_counter()
    process = os.posix_spawn(sys.executable, [sys.executable, *words], os.environ)
    _, status, used = os.wait4(process, 0)
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(f"{file}: transcribing ended with {code}")
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return (
        used.ru_maxrss * kilobyte / MEGABYTE,
        used.ru_utime + used.ru_stime,
        time.perf_counter() - began,
    )


def measured(run: Path, manifest: Path, lengths: list[float], more: list[str]) -> Iterator[Row]:
    measurer, first = Measurer("long"), None
    for minutes in lengths:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "long.flac"
            write_long(manifest, minutes, file)
            megabytes, seconds, wall = transcribed(run, file, more)
        subject, first = f"{minutes:g} minutes", first or megabytes
        yield measurer.row(subject, TASK, "peak megabytes", megabytes, seconds=wall)
        yield measurer.row(subject, TASK, "peak over the shortest's", megabytes / first)
        yield measurer.row(subject, TASK, "real-time factor, processor", seconds / (60 * minutes))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="a fine-tuned run")
    parser.add_argument("--manifest", type=Path, required=True, help="clips to join")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 180.0], help="shortest first")
    parser.add_argument("--dry", action="store_true", help="nothing is written")
    parser.add_argument("more", nargs="*", help="options of `sonorant transcribe`, behind --")
    options = parser.parse_args()
    rows = []
    for row in measured(options.run, options.manifest, options.minutes, options.more):
        rows.append(row)
        print(f"{row.subject}: {row.metric} {row.value:.4g}", flush=True)
    if not options.dry:
        file = RESULTS / f"long-{datetime.now(UTC):%Y-%m-%d}.jsonl"
        write_rows(file, rows)
        command = " ".join(["python benchmarks/long.py", *sys.argv[1:]])
        head = f"# Long files\n\n`{command}`, commit {rows[0].commit}, {rows[0].machine}.\n\n"
        file.with_suffix(".md").write_text(head + table(rows) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
