"""Words while they are spoken: how far behind, and what is lost by not waiting for the end.

    python benchmarks/listening.py --run demo/60min-seed0/finetuned --manifest demo/corpus/test.jsonl
    python benchmarks/listening.py --run runs/ctc --manifest test.jsonl --chunks 0.2 --ahead 0.5 --dry

Each clip is a stream of its own, in blocks as a microphone would bring them, as fast as they are taken, and
is searched greedily. Latency is that of `sonorant listen`: from the last sample of a word's last frame to
when the whole word was first told; most of it is audio that had to come first. The first row has whole clips
at once. On how many threads: OMP_NUM_THREADS. Rows go to results/listening-DATE.jsonl, with a page.
"""

import argparse
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np

from sonorant.asr.live import LiveConfig
from sonorant.asr.transcribe import Recogniser
from sonorant.data.audio import clip_blocks
from sonorant.data.manifest import Clip, read
from sonorant.data.stream import BLOCK
from sonorant.evaluate.rows import Row, table, write_rows
from sonorant.evaluate.wer import character_error_rate
from sonorant.recipes.listening import Latency, follow, overlap
from sonorant.recipes.measuring import Measurer
from sonorant.recipes.recognise import load_recogniser, recognise
from speed import RESULTS

Pairs = list[tuple[str, str]]
TASK = "clips as streams"


def measured(
    clips: Sequence[Clip], recogniser: Recogniser, chunks: Sequence[float], aheads: Sequence[float]
) -> Iterator[list[Row]]:
    """Of whole clips, then of each chunk with each look-ahead, in seconds."""
    measurer = Measurer("listening")
    whole, factor = recognise(clips, recogniser)
    found = [(each.reference or "", each.hypothesis) for each in whole]
    yield [
        _error(measurer, "whole clips", found),
        measurer.row("whole clips", TASK, "real-time factor", factor),
    ]
    for chunk, ahead in product(chunks, aheads):
        subject = f"chunk {chunk:g} s, look-ahead {ahead:g} s"
        config = LiveConfig(chunk_seconds=chunk, look_ahead_seconds=ahead)
        found, latency = streamed(clips, recogniser, config)
        yield [
            _error(measurer, subject, found),
            *_behind(measurer, subject, latency),
            measurer.row(subject, TASK, "real-time factor", latency.real_time_factor),
        ]


def streamed(clips: Sequence[Clip], recogniser: Recogniser, config: LiveConfig) -> tuple[Pairs, Latency]:
    """The texts of the clips and what was written down of each, and the latency of all words."""
    latency, found = Latency(overlap(recogniser)), []
    for clip in clips:
        source = clip_blocks(clip, recogniser.frontend.rate, BLOCK)
        lines = [each.text for each in follow(source, recogniser, config, latency) if each.words is not None]
        found.append((recogniser.vocabulary.normalise(clip.text or ""), " ".join(lines)))
    return found, latency


def _error(measurer: Measurer, subject: str, found: Pairs) -> Row:
    rate = character_error_rate(found)
    return measurer.row(subject, TASK, "CER", rate.rate, low=rate.low, high=rate.high, n=rate.utterances)


def _behind(measurer: Measurer, subject: str, latency: Latency) -> list[Row]:
    """None where no word was told."""
    if not len(behind := latency.behind):
        return []
    figures = {
        "latency, median, s": np.median(behind),
        "latency, slowest of twenty, s": np.quantile(behind, 0.95),
        "of it computing, median, s": np.median(latency.computed),
    }
    return [measurer.row(subject, TASK, name, float(value), n=len(behind)) for name, value in figures.items()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="a fine-tuned run")
    parser.add_argument("--manifest", type=Path, required=True, help="clips with texts")
    parser.add_argument("--chunks", type=float, nargs="+", default=[0.2, 0.5, 1.0], help="seconds")
    parser.add_argument("--ahead", type=float, nargs="+", default=[0.0, 0.2, 0.5, 1.0], help="seconds")
    parser.add_argument("--dry", action="store_true", help="nothing is written")
    options = parser.parse_args()
    clips = [clip for clip in read(options.manifest) if clip.text]
    rows = []
    for some in measured(clips, load_recogniser(options.run), options.chunks, options.ahead):
        rows += some
        print("; ".join([some[0].subject, *(f"{row.metric} {row.value:.3g}" for row in some)]), flush=True)
    if not options.dry:
        file = RESULTS / f"listening-{datetime.now(UTC):%Y-%m-%d}.jsonl"
        write_rows(file, rows)
        settings = f"--chunks {_words(options.chunks)} --ahead {_words(options.ahead)}"
        command = f"python benchmarks/listening.py --run RUN --manifest {options.manifest.name} {settings}"
        head = f"# Listening\n\n`{command}`, commit {rows[0].commit}, {rows[0].machine}.\n\n"
        file.with_suffix(".md").write_text(head + table(rows) + "\n", encoding="utf8")


def _words(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:g}" for number in numbers)


if __name__ == "__main__":
    main()
