"""One file per corpus, found by its name: collections that can be fetched and layouts that can be read.

A module has `LICENCE` and one of

    fetch(out: Path) -> list[Clip]          audio, manifests and licences written into `out`
    read(folder: Path, out: Path)           an entry for each clip; audio that has no file goes to `out`
        with matches(folder: Path) -> bool  whether the folder (or the file) is laid out like this
"""

import pkgutil
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from sonorant.data.entries import Checked, CorpusError, Entry, Progress, Skipped, checked
from sonorant.data.manifest import Clip


class Collection(Protocol):
    """A corpus that can be fetched."""

    LICENCE: str

    def fetch(self, out: Path) -> list[Clip]: ...


class Layout(Protocol):
    """A way in which users have their recordings."""

    LICENCE: str

    def matches(self, folder: Path) -> bool: ...

    def read(self, folder: Path, out: Path) -> Iterable[Entry | Skipped]: ...


def names() -> list[str]:
    """All corpora, by the names of their files."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def collections() -> list[str]:
    """The corpora that can be fetched."""
    return [name for name in names() if hasattr(find(name), "fetch")]


def layouts() -> list[str]:
    """The layouts that can be read."""
    return [name for name in names() if hasattr(find(name), "read")]


def find(name: str) -> Collection | Layout:
    """The corpus of that name; CorpusError names those that there are."""
    if name not in names():
        raise CorpusError(f"{name!r}: no such corpus; there are {', '.join(names())}")
    return cast("Collection | Layout", import_module(f"{__name__}.{name}"))


def fetch(name: str, out: Path) -> list[Clip]:
    """Fetch a corpus into `out`; CorpusError if it is one that users have to bring along."""
    if name not in collections():
        raise CorpusError(f"{name!r}: cannot be fetched; there are {', '.join(collections())}")
    out.mkdir(parents=True, exist_ok=True)
    return cast("Collection", find(name)).fetch(out)


def detect(folder: Path) -> str:
    """The layout of a folder; `folder` if no other fits. CorpusError: none fits, or several."""
    if not folder.exists():
        raise CorpusError(f"{folder}: there is no such file or folder (check its name)")
    fitting = [name for name in layouts() if cast("Layout", find(name)).matches(folder)]
    special = [name for name in fitting if name != "folder"] or fitting
    if not special:
        raise CorpusError(f"{folder}: no audio and no list of audio found (layouts: {', '.join(layouts())})")
    if len(special) > 1:
        raise CorpusError(f"{folder}: may be {' or '.join(special)} (choose one with --layout)")
    return special[0]


def read(folder: Path, *, out: Path, layout: str | None = None, progress: Progress | None = None) -> Checked:
    """The clips of a folder whose audio is sound, and what was skipped; `layout` overrides what is detected.

    `out` is a folder for audio that has no file of its own (a Lhotse Shar). CorpusError: nothing is usable.
    """
    name = layout or detect(folder)
    if name not in layouts():
        raise CorpusError(f"{name!r}: no such layout; there are {', '.join(layouts())}")
    found = checked(cast("Layout", find(name)).read(folder, out), progress=progress)
    if not found.clips:
        first = f", first {found.skipped[0].reason}" if found.skipped else ""
        raise CorpusError(f"{folder}: no usable clip as {name}; {len(found.skipped)} skipped{first}")
    return found
