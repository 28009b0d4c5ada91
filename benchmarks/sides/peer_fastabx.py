"""fastabx: the same items, the same cells. Needs Python 3.12."""

import json
import sys
import time

import polars as pl
import torch
from fastabx import Dataset, Score, Subsampler, Task
from fastabx.accessor import InMemoryAccessor

task = json.loads(sys.argv[1])
torch.set_num_threads(task["threads"])
held = torch.load(task["items"], weights_only=True)
ends = held["lengths"].cumsum(0)
places = zip((ends - held["lengths"]).tolist(), ends.tolist(), strict=True)
labels = pl.DataFrame({name: held[name].tolist() for name in ("label", "context", "speaker")})


def measure() -> float:
    accessor = InMemoryAccessor(dict(enumerate(places)), held["frames"].clone(), torch.device("cpu"))
    across = ["speaker"] if task["speakers"] == "across" else None
    by = ["context"] if across else ["context", "speaker"]
    sampler = Subsampler(task["limit"], task["other_speakers"]) if task["limit"] else None
    cells = Task(Dataset(labels, accessor), on="label", by=by, across=across, subsampler=sampler)
    return Score(cells, "angular", progress=False).collapse(levels=["context", "speaker"])


started = time.perf_counter()
error = measure()
print(json.dumps({"seconds": time.perf_counter() - started, "error": error}))
