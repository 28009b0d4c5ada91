"""Where files lie in a tar archive, so that one of them can be read without those before it.

That needs an archive that is not compressed: of a compressed one everything before has to be unpacked.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class ArchiveError(ValueError):
    """An archive that is damaged, cut off or compressed, in one line."""


class Member(NamedTuple):
    """A file in an archive: `size` bytes from byte `offset` on."""

    name: str
    offset: int
    size: int


def members(path: Path) -> Iterator[Member]:
    """The files of a tar archive in their order. ArchiveError, once those before are given: it is damaged."""
    try:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                if info.isreg() and not info.issparse():
                    yield Member(info.name, info.offset_data, info.size)
    except tarfile.TarError as error:
        raise ArchiveError(
            f"{path}: damaged, cut off or compressed: {error} (fetch it again, or unpack what compresses it)"
        ) from error
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read: {error.strerror} (check the path)") from error


def content(path: Path, member: Member) -> bytes:
    """A file's bytes."""
    with path.open("rb") as file:
        file.seek(member.offset)
        return file.read(member.size)
