"""The command line: one command a stage, each with a file between it and the next.

torch is imported by what needs it, so that help answers at once.
"""

from collections.abc import Sequence

from sonorant import console
from sonorant.allocator import keep_memory
from sonorant.cli import (  # noqa: F401 (each adds its commands)
    bench,
    compare,
    data,
    hear,
    language,
    learn,
    speech,
    unpaired,
    use,
)
from sonorant.cli.app import app


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command; a user's mistake ends with 2, a failure with 1, each in one line."""
    keep_memory()
    with console.errors_in_one_line():
        app(arguments)
