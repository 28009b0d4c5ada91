"""Commands that use what was trained: features, figures, files for other programs, reports."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sonorant import console
from sonorant.cli.app import app
from sonorant.console import AsJson, Layers, Out, Precision, Quiet, Rows


@app.command()
def extract(
    run: Annotated[
        str,
        typer.Argument(
            help="A run or checkpoint, a published model's folder, or a baseline: `log-mel`, `mfcc`."
        ),
    ],
    manifest: Annotated[Path, typer.Argument(help="The clips.")],
    out: Out = Path("features"),
    untrained: Annotated[bool, typer.Option(help="The same encoder with new weights: a control.")] = False,
    layer: Layers = None,
    to_score: Annotated[
        bool, typer.Option("--to-score", help="For `measure`: no frame sees what it is to predict.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the new weights.")] = 0,
    precision: Precision = "auto",
    quiet: Quiet = False,
) -> None:
    """Write the features of every clip and layer: `frontend`, then `layer_0` and on.

    Published models are wav2vec 2.0, HuBERT, WavLM, data2vec-audio and Whisper's encoder, in folders as
    `transformers` saves them (docs/upstreams.md).

    Example: `sonorant extract runs/best_rq speech.jsonl --to-score --out features`
    """
    import torch

    from sonorant.data.manifest import read
    from sonorant.recipes import features
    from sonorant.recipes.upstream import load_upstream, origin

    torch.manual_seed(seed)
    baseline = {"log-mel": features.log_mel, "mfcc": features.mfcc}.get(run)
    checkpoint = Path(run) if baseline else origin(Path(run))
    upstream = baseline() if baseline else load_upstream(checkpoint, untrained=untrained)
    write = features.extract_to_score if to_score else features.extract
    provenance = {"checkpoint": str(checkpoint), "untrained": untrained, "manifest": str(manifest)}
    clips = read(manifest)
    with console.progress("extracting", quiet) as bar:
        count = write(
            upstream,
            clips,
            out,
            provenance=provenance | {"precision": precision},
            layers=layer,
            precision=precision,
            progress=bar,
        )
    print(f"{out}: features of {count} clips")


@app.command()
def measure(
    features: Annotated[list[Path], typer.Argument(help="Folders that `extract` wrote.")],
    manifest: Annotated[
        Path | None,
        typer.Option(help="Clips with `units`: adds the labelled bound and the phone probe."),
    ] = None,
    probe: Annotated[
        str, typer.Option(help="What reads the units: linear, mlp (one hidden layer), or linear,mlp.")
    ] = "linear",
    layer: Layers = None,
    targets: Annotated[
        Path | None, typer.Option(help="Features whose clusters are predicted, the same for all.")
    ] = None,
    target_layer: Annotated[
        str | None, typer.Option(help="Their layer; else `frontend` after `extract --to-score`.")
    ] = None,
    curve: Annotated[bool, typer.Option(help="Over numbers of clusters and gaps.")] = False,
    codes: Annotated[
        str | None, typer.Option(help="Numbers of clusters of the label-free score, with commas: 50,100,200.")
    ] = None,
    gaps: Annotated[
        str | None, typer.Option(help="Its gaps in seconds, with commas. Default of both: 100 and 0.1.")
    ] = None,
    controls: Annotated[
        bool,
        typer.Option("--controls", help="Beside: the encoder untrained, log-mel, collapsed features."),
    ] = False,
    clusters: Annotated[
        list[int] | None,
        typer.Option(min=1, help="With units: PNMI and purities of so many clusters; may be repeated."),
    ] = None,
    bounds: Annotated[
        str | None,
        typer.Option(help="Without clusters, by a trained critic: of infonce, nwj, dv, with commas."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of clusters, probes, critics and controls.")] = 0,
    out: Rows = None,
    as_json: AsJson = False,
) -> None:
    """Tell how good features are: a lower bound on the information that frames carry about later ones.

    No labels are needed; with phone labels in a manifest, a linear probe is added. Every figure has its 95 %
    interval and a shuffled control, which has to be about 0. docs/measuring.md tells what to trust when.

    Example: `sonorant measure features --out rows.jsonl`
    """
    from sonorant.data.manifest import read
    from sonorant.evaluate.information import CODES, GAPS
    from sonorant.evaluate.rows import table, write_rows
    from sonorant.evaluate.store import FeatureStore
    from sonorant.recipes.scoring import Plan
    from sonorant.recipes.scoring import measure as run

    plan = Plan(
        targets=None if targets is None else FeatureStore(targets),
        target_layer=target_layer,
        clips=None if manifest is None else read(manifest),
        codes=console.numbers("codes", codes, int, CODES if curve else Plan.codes),
        gaps=console.numbers("gaps", gaps, float, GAPS if curve else Plan.gaps),
        clusters=clusters or (),
        bounds=() if bounds is None else bounds.split(","),
        probes=probe.split(","),
        seed=seed,
    )
    rows = []
    for each in features:
        rows += run(
            FeatureStore(each),
            plan,
            layers=layer,
            with_controls=controls,
            say=lambda line: print(line, file=sys.stderr),
        )
    if out is not None:
        write_rows(out, rows)
    console.show(console.plain(rows), as_json, table(rows))


@app.command()
def abx(
    features: Annotated[list[Path], typer.Argument(help="Folders that `extract` wrote.")],
    manifest: Annotated[Path, typer.Option(help="Clips with phones as `units`, and speakers.")],
    layer: Layers = None,
    items: Annotated[
        str, typer.Option(help="triphone, phone (in the same context) or any (phones in any context).")
    ] = "triphone",
    distance: Annotated[str, typer.Option(help="angular, euclidean, or kl of posteriors.")] = "angular",
    limit: Annotated[
        int | None, typer.Option(min=2, help="Items of a phone, context and speaker at most. Default: all.")
    ] = None,
    other_speakers: Annotated[
        int | None, typer.Option(min=1, help="Speakers of X for each A and B at most. Default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn, and of intervals.")] = 0,
    out: Rows = None,
    as_json: AsJson = False,
) -> None:
    """Tell how often features take one phone for another: ABX error rates within and across speakers.

    0 is perfect, 0.5 is chance. Nothing is trained; phones with times are needed (`sonorant align`).

    Example: `sonorant abx features --manifest aligned.jsonl`
    """
    from sonorant.data.manifest import read
    from sonorant.evaluate.rows import table, write_rows
    from sonorant.evaluate.store import FeatureStore
    from sonorant.recipes.discriminability import discriminability

    clips = read(manifest)
    rows = []
    for each in features:
        rows += discriminability(
            FeatureStore(each),
            clips,
            layers=layer,
            kind=items,  # type: ignore[arg-type]  # which checks it
            distance=distance,  # type: ignore[arg-type]
            limit=limit,
            other_speakers=other_speakers,
            seed=seed,
            say=lambda line: print(line, file=sys.stderr),
        )
    if out is not None:
        write_rows(out, rows)
    console.show(console.plain(rows), as_json, table(rows))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run or one of its checkpoints.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write, NAME.onnx.")],
    layer: Annotated[
        str | None,
        typer.Option(help="Its frames; else log probabilities of a recogniser, or the last layer."),
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32 or int8.")] = "fp32",
) -> None:
    """Write a network as one ONNX file, from samples to log probabilities or to the frames of a layer.

    ONNX Runtime alone then computes them; the file's metadata tell the rate and the vocabulary.

    Example: `sonorant export runs/ctc --out recogniser.onnx`
    """
    from sonorant.recipes.export import export as write

    write(run, out, layer=layer, precision=precision)
    print(out)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run's folder, or one that holds several.")],
) -> None:
    """Write `report.html` into a run's folder: curves, tables, transcripts, a spectrogram with its features.

    Example: `sonorant report runs/best_rq`
    """
    from sonorant.recipes.report import write_report

    print(write_report(run))
