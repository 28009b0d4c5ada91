"""The configurations that come with the package."""

from pathlib import Path

from sonorant.config import ConfigError

FOLDER = Path(__file__).parent.parent / "configs"


def shipped(name: str) -> Path:
    """The file of a shipped configuration, or the path itself where it is one.

    ConfigError: there is neither.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    file = FOLDER / f"{name}.yaml"
    if not file.exists():
        raise ConfigError(f"{name!r}: neither a .yaml file nor one of {', '.join(names())}")
    return file


def names() -> list[str]:
    """The shipped configurations."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))
