"""The command that benchmarks upstreams on downstream tasks."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sonorant import console
from sonorant.cli.app import app
from sonorant.console import AsJson, Out, Precision, Quiet


@app.command()
def bench(
    upstream: Annotated[
        list[str],
        typer.Argument(
            help="Runs or checkpoints, `log-mel`, `mfcc`, `untrained:RUN`; NAME=... gives it another name."
        ),
    ],
    data: Annotated[
        list[str],
        typer.Option(
            help="A manifest for all tasks, or TASK=MANIFEST for one; or three for training, validation and "
            "test, with commas between. May be repeated."
        ),
    ],
    tasks: Annotated[
        str | None,
        typer.Option(help="Of ks, sid, ..., with commas between. Default: all that the data allow."),
    ] = None,
    out: Out = Path("bench"),
    seeds: Annotated[int, typer.Option(min=1, help="How many times each head is trained.")] = 3,
    heads: Annotated[
        str, typer.Option(help="both, or paper: the published one alone, in half of the time.")
    ] = "both",
    rates: Annotated[
        str | None, typer.Option(help="Learning rates to sweep, with commas. Default: 1e-4,1e-3,1e-2,1e-1.")
    ] = None,
    updates: Annotated[int, typer.Option(min=1, help="Of a head, at most.")] = 2000,
    batch: Annotated[int, typer.Option(min=1, help="Clips an update.")] = 32,
    width: Annotated[
        float, typer.Option(help="Of the heads' hidden layers, as a share of the published ones.")
    ] = 1.0,
    precision: Precision = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Benchmark frozen upstreams on your own data as SUPERB does: small heads on the weighted sum of layers.

    The learning rate is swept for every upstream, task and head, and chosen on the validation part. Features
    are computed once and kept; the same command goes on where it was interrupted. Writes rows (JSONL, CSV)
    and `leaderboard.html`. docs/bench.md tells what each task needs.

    Example: `sonorant bench log-mel runs/best_rq --data ks=commands.jsonl --data asr=paired.jsonl`
    """
    from sonorant.config import convert
    from sonorant.evaluate.rows import table
    from sonorant.recipes.benching.bench import BenchConfig
    from sonorant.recipes.benching.bench import bench as run
    from sonorant.recipes.benching.learning import HeadConfig

    swept = console.numbers("rates", rates, float, HeadConfig().learning_rates)
    settings = {
        "out": str(out),
        "upstreams": upstream,
        "data": data,
        "tasks": None if tasks is None else tasks.split(","),
        "seeds": seeds,
        "heads": heads,
        "precision": precision,
        "head": {"learning_rates": list(swept), "updates": updates, "batch": batch, "width": width},
    }
    with console.continuable(), console.progress("encoding", quiet) as bar:
        fits = run(
            convert(settings, BenchConfig),
            say=lambda line: None if quiet else print(line, file=sys.stderr),
            progress=bar,
        )
    rows = [row for fit in fits for row in fit.rows]
    console.show(console.plain(rows), as_json, f"{table(rows)}\n{out / 'leaderboard.html'}")
