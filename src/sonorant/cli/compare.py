"""The command that compares two models."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sonorant import console
from sonorant.cli.app import app
from sonorant.console import AsJson, Quiet


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A folder that `extract` wrote; weighs in PWCCA.")],
    second: Annotated[Path, typer.Argument(help="Another one of the same manifest: the reference.")],
    layers: Annotated[
        str | None, typer.Option(help="Only these, of both folders, with commas between. Default: all.")
    ] = None,
    measures: Annotated[
        str | None,
        typer.Option(
            help="Of mean_cca, svcca, pwcca, linear_cka, rbf_cka, mutual_knn, with commas. Default: all."
        ),
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Pairs of frames, at most.")] = 200_000,
    seed: Annotated[int, typer.Option(help="Of the utterances and frames that are drawn.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder for all figures, rows and pictures.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Tell how alike two models represent the same speech, layer by layer.

    Prints which layer of the second model is most like each layer of the first, with 95 % intervals and the
    floor: the same figure for frames of other utterances. Frames of different rates are paired by time.

    Example: `sonorant compare features untrained --measures pwcca,linear_cka --out comparison`
    """
    from sonorant.evaluate.alike import MEASURES
    from sonorant.recipes.comparing import compare as run
    from sonorant.recipes.comparing import text

    with console.progress("comparing", quiet) as bar:
        found = run(
            first,
            second,
            layers=None if layers is None else layers.split(","),
            measures=MEASURES if measures is None else measures.split(","),
            frames=frames,
            seed=seed,
            out=out,
            progress=bar,
        )
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    (told,) = console.plain([found])
    console.show(told, as_json, text(found))
