"""Debian packages as a source of recordings: downloaded by apt-get, unpacked by dpkg-deb, without root.

Games, voices and telephone prompts that Debian ships hold hours of speech that are free to share. apt-get
checks the archive's signature and each package's SHA-256, so that what arrives is what Debian released.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

OWN_DATA = "to go on with a folder of your own: sonorant manifest FOLDER --out FILE"

# Hooks that an image or a desktop adds to `apt-get update` write to the system's folders: they are cleared.
CONFIGURATION = """\
Dir::State "{folder}/state";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Sandbox::User "root";
Acquire::Languages "none";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


class DebianError(ValueError):
    """A Debian package cannot be had on this machine: which one, why, and the way out."""


def download(packages: Sequence[str], folder: Path) -> list[Path]:
    """The packages' files in `folder`, one for each name; what is there already is not fetched again.

    The system's package lists are tried first. Where they are missing or out of date, fresh ones are fetched
    into a folder of their own that lives as long as the call. DebianError: apt-get is missing or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [package for package in packages if _present(package, folder) is None]
    if missing:
        _require("apt-get", missing[0])
        with tempfile.TemporaryDirectory(prefix="download-", dir=folder) as name:
            aside = Path(name).absolute()
            _fetch(missing, aside)
            for file in sorted(aside.glob("*.deb")):
                file.replace(folder / file.name)
    files = [_present(package, folder) for package in packages]
    return [file for file in files if file is not None]


@contextmanager
def unpacked(packages: Sequence[str], folder: Path) -> Iterator[Path]:
    """The packages' files below one folder for as long as the context lasts; nothing of a package is run.

    Their licences stay as `folder`/licences/PACKAGE. DebianError: as for `download`, or a file is damaged.
    """
    files = download(packages, folder)
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=folder) as name:
        place = Path(name)
        for package, file in zip(packages, files, strict=True):
            _require("dpkg-deb", package)
            failure = _run(["dpkg-deb", "-x", str(file.absolute()), "."], place)
            if failure:
                raise DebianError(
                    f"{file}: cannot be unpacked: {failure} (delete the file to fetch it again)"
                )
            licences = folder / "licences"
            licences.mkdir(exist_ok=True)
            shutil.copyfile(place / "usr/share/doc" / package / "copyright", licences / package)
        yield place


def _present(package: str, folder: Path) -> Path | None:
    """The newest file of the package; a file with this name is whole, because it was downloaded aside."""
    return max(folder.glob(f"{package}_*.deb"), key=lambda file: file.stat().st_mtime, default=None)


def _require(program: str, package: str) -> None:
    if shutil.which(program) is None:
        raise DebianError(
            f"{package}: needs {program}, which Debian and Ubuntu have and this machine does not ({OWN_DATA})"
        )


def _fetch(packages: Sequence[str], aside: Path) -> None:
    """Download into `aside`, by the system's lists or by lists of our own."""
    command = ["apt-get", "-q", "download", *packages]
    if not _run(command, aside):
        return
    for name in ("state", "lists/partial", "cache/archives/partial"):
        (aside / name).mkdir(parents=True)
    (aside / "status").touch()
    settings = aside / "apt.conf"
    settings.write_text(CONFIGURATION.format(folder=aside), encoding="utf8")
    # One unreachable third-party archive fails the update; whether the packages can be had decides instead.
    update = _run(["apt-get", "-q", "-c", str(settings), "update"], aside)
    failure = _run(["apt-get", "-c", str(settings), *command[1:]], aside)
    if failure:
        causes = failure if not update or update == failure else f"{failure}; {update}"
        raise DebianError(f"{', '.join(packages)}: apt-get cannot download: {causes} ({OWN_DATA})")


def _run(command: Sequence[str], folder: Path) -> str:
    """What went wrong, in one line; empty if nothing did."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E:")] or lines[-1:]
    return " ".join(errors) or f"{command[0]} ended with code {done.returncode}"
