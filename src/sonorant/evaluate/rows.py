"""The one form of every result: what was measured on what, how sure it is, and how to get it again."""

import math
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import torch

RESULTS = "benchmarks/results"  # of the repository


class RowError(ValueError):
    """A file of rows that cannot be read or written."""


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One figure."""

    benchmark: str  # the script or command that measured it
    subject: str  # what was measured: a run and step, a layer, a system
    task: str  # on which data, for what
    metric: str  # with its unit: `wer`, `label_free_nats`, `accuracy`
    value: float
    low: float | None = None  # 95 % interval
    high: float | None = None
    n: int | None = None  # what the interval is over: utterances, runs
    seed: int | None = None
    seconds: float | None = None  # of wall time
    commit: str = ""
    machine: str = ""


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append rows to a file, one JSON object a line. RowError: a value is not finite; nothing is written."""
    rows = list(rows)
    for row in rows:
        if not all(math.isfinite(number) for number in (row.value, row.low or 0, row.high or 0)):
            raise RowError(f"{path}: {row.subject}, {row.task}: {row.metric} is not finite: {row.value}")
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    with path.open("ab") as file:
        file.write(lines)


def read_rows(path: Path) -> list[Row]:
    """The rows of a file. RowError: it is missing, or a line is no row."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise RowError(f"{path}: cannot be read: {error.strerror} (measure first)") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(msgspec.json.decode(line, type=Row))
        except msgspec.DecodeError as error:
            raise RowError(f"{path}:{number}: {error} (remove the line, or measure again)") from error
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, figures to four significant digits, the intervals in brackets."""
    head = ("subject", "task", "metric", "value", "95 % interval", "n", "seconds")
    body = [
        (
            row.subject,
            row.task,
            row.metric,
            f"{row.value:.4g}",
            f"[{row.low:.4g}, {row.high:.4g}]" if row.low is not None and row.high is not None else "",
            "" if row.n is None else str(row.n),
            "" if row.seconds is None else f"{row.seconds:.3g}",
        )
        for row in rows
    ]
    lines = [head, ("---", "---", "---", "---:", "---:", "---:", "---:"), *body]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def machine() -> str:
    """Processor, cores this process may use, torch and bfloat16 in hardware; nothing that names the host."""
    information = _processor_information()
    model = re.search(r"^model name\s*:\s*(.+)$", information, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", information, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    bfloat16 = [name for flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512")) if flag in known]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [
        model[1] if model else platform.machine(),
        f"{cores} cores",
        f"torch {torch.__version__}",
        f"bf16 {'+'.join(bfloat16) or ('no' if flags else 'unknown')}",
    ]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def commit() -> str:
    """The code's commit, with `-dirty` if files differ from it, results left aside: a benchmark adds to them
    piece by piece. `unknown` outside its repository."""
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # an installed copy may lie in another's
        found = _git("describe", "--always", "--abbrev=12", "--exclude=*")
        changed = _git(
            "status", "--porcelain", "--untracked-files=no", "--", ":/", f":(exclude,top){RESULTS}"
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{found}-dirty" if changed else found


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def _processor_information() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf8")
    except OSError:
        return ""
