"""lightly's losses without the rest of lightly, which asks for torchvision, Lightning and Hydra.

Its packages import all that they have. With empty ones in their place each file is read alone; of those the
losses need `lightly.models.utils` alone asks for torchvision, and that for several processes only.
"""

import importlib.util
import sys
import types
from pathlib import Path

PACKAGES = ("loss", "models", "models.modules", "utils")


def make_way() -> None:
    """To be called before the first import from lightly."""
    found = importlib.util.find_spec("lightly")
    assert found is not None
    assert found.origin is not None
    root = Path(found.origin).parent
    for name in PACKAGES:
        package = types.ModuleType(f"lightly.{name}")
        package.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules[package.__name__] = package
    sys.modules["lightly.models.utils"] = types.ModuleType("lightly.models.utils")
