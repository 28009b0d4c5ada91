"""Guards every benchmark from falling behind what it measures: each can be loaded and tells what it does."""

import importlib
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_loads_and_tells_how_it_is_run(script):
    loaded = importlib.import_module(script.stem)
    if hasattr(loaded, "main"):
        assert f"python benchmarks/{script.name}" in loaded.__doc__
