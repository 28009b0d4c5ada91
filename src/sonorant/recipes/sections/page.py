"""What the sections of a report share: escaped text, figures for people, and the frame around them."""

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SERIES = 6  # colours for lines that the style sheet has
STYLE = Path(__file__).with_name("report.css")


class ReportError(ValueError):
    """A run that no report can be made of: where, why, and the way out; one line."""


@dataclass(frozen=True)
class Section:
    """A titled part of the page; the title is plain text, the body HTML in which data has been escaped."""

    title: str
    body: str


def folders(run: Path) -> list[Path]:
    """The run itself and its direct subfolders, in the order of their names."""
    return [run, *sorted(each for each in run.iterdir() if each.is_dir())]


def name(folder: Path, run: Path) -> str:
    """What a run within a run is called; the outer one by its folder even if that is `.`."""
    return run.resolve().name if folder == run else folder.name


def text(value: object) -> str:
    """Data as HTML that shows it and does nothing else."""
    return html.escape(str(value))


def words(identifier: str) -> str:
    """A metric's name as people write it."""
    return identifier.replace("_", " ")


def number(value: float) -> str:
    """Four significant digits, whole from a thousand on, with a real minus sign."""
    shown = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return shown.replace("-", "\N{MINUS SIGN}")


def key(entries: Iterable[tuple[str, int | None, bool]]) -> str:
    """What the lines of a chart are: names, their series (None: any) and whether they are dashed."""
    items = "".join(
        f'<li><i class="{_classes(series, dashed)}"></i>{text(label)}</li>'
        for label, series, dashed in entries
    )
    return f'<ul class="key">{items}</ul>'


def _classes(series: int | None, dashed: bool) -> str:
    return ("any" if series is None else f"s{series % SERIES}") + (" dashed" if dashed else "")


def page(title: str, sections: Sequence[Section], *, over: str = "Sonorant run", script: str = "") -> str:
    """The whole document, which asks for nothing from anywhere else; `over` stands above the title, `script`
    is the one program that it may run."""
    links = "".join(
        f'<a href="#part-{place}">{text(each.title)}</a>' for place, each in enumerate(sections, start=1)
    )
    body = "".join(
        f'<section id="part-{place}"><h2>{text(each.title)}</h2>{each.body}</section>'
        for place, each in enumerate(sections, start=1)
    )
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"; script-src 'sha256-{allowed}'" if script else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        f"content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:{policy}\">"
        '<meta name="color-scheme" content="light dark">'
        f"<title>{text(title)}</title><style>{STYLE.read_text(encoding='utf8')}</style></head>"
        f'<body><header><p class="over">{text(over)}</p><h1 dir="auto">{text(title)}</h1>'
        f"<nav>{links}</nav></header><main>{body}</main>"
        f"{f'<script>{script}</script>' if script else ''}</body></html>\n"
    )
