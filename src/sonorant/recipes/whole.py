"""Files that are there whole or not at all, whenever the program is ended."""

from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> Path:
    """Writes a file aside and renames it, with the folders above it; text is UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    return partial.replace(path)
