"""A run as one page: results, transcripts, a picture of the features, curves and settings."""

from pathlib import Path

import msgspec
import yaml

from sonorant.recipes.sections.curves import training
from sonorant.recipes.sections.heat import comparisons
from sonorant.recipes.sections.page import ReportError, Section, folders, name, page, text
from sonorant.recipes.sections.picture import picture
from sonorant.recipes.sections.tables import provenance, results
from sonorant.recipes.sections.transcripts import transcripts
from sonorant.recipes.whole import write_whole
from sonorant.train import checkpoint

HOLDS = (
    "metrics.jsonl, results.jsonl, comparison.json, hypotheses.jsonl, picture.safetensors "
    "or a checkpoint's config.json"
)


def write_report(run: Path) -> Path:
    """Writes `report.html`, which needs no other file, from what a run's folder and those inside it hold.

    ReportError: nothing is found, or a file cannot be read. PlotError: matplotlib is not installed.
    """
    if not run.is_dir():
        raise ReportError(f"{run}: no such folder (a run's folder holds {HOLDS})")
    measured = results(run)
    sections = [
        *measured[:1],
        *transcripts(run),
        *picture(run),
        *measured[1:],
        *comparisons(run),
        *training(run),
        *provenance(run),
        *_settings(run),
    ]
    if not sections:
        raise ReportError(f"{run}: nothing to report (a run's folder holds {HOLDS})")
    return write_whole(run / "report.html", page(name(run, run), sections))


def _settings(run: Path) -> list[Section]:
    """The configuration of each run: its own, or that of its last checkpoint."""
    parts = []
    for folder in folders(run):
        last = checkpoint.latest(folder)
        file = next(
            (each / "config.json" for each in (folder, last) if each and (each / "config.json").exists()),
            None,
        )
        if file is None or folder in checkpoint.checkpoints(run):
            continue
        try:
            settings = msgspec.json.decode(file.read_bytes())
        except msgspec.DecodeError as error:
            raise ReportError(f"{file}: {error} (remove it, or train again)") from error
        shown = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        parts.append(
            f"<details><summary>{text(name(folder, run))}</summary><pre>{text(shown)}</pre></details>"
        )
    return [Section("Settings", "".join(parts))] if parts else []
