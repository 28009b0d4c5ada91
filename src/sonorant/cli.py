"""The command line: one command a stage, each with a file between it and the next.

torch is imported by what needs it, so that help answers at once.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from sonorant import console
from sonorant.console import AsJson, Configuration, Layers, Out, Overrides, Quiet, Rows

app = typer.Typer(
    name="sonorant",
    help="Learn from untranscribed speech: representations, label-free scores, low-resource recognisers.\n\n"
    "A way through: `manifest`, `pretrain`, `extract`, `measure`, `finetune`, `transcribe`, `report`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command; a user's mistake ends with 2, a failure with 1, each in one line."""
    with console.errors_in_one_line():
        app(arguments)


@app.command()
def corpus(
    name: Annotated[str, typer.Argument(help="Which one; `list` shows them.")],
    out: Out = Path("corpus"),
    as_json: AsJson = False,
) -> None:
    """Fetch a corpus: its audio, its manifests and its licence.

    `queen` is 4.5 hours of English dialogue with a low-resource split, `asterisk` prompts in five languages,
    `festvox_ru` a Russian voice with phone labels. They come from Debian packages, without root.

    Example: `sonorant corpus queen --out queen`
    """
    from sonorant import corpora

    if name == "list":
        found = {
            each: (corpora.find(each).__doc__ or "").partition("\n")[0] for each in corpora.collections()
        }
        console.show(found, as_json, console.lines(found))
        return
    clips = corpora.fetch(name, out)
    licence = corpora.find(name).LICENCE
    told = {"corpus": name, "out": str(out), **console.summary(clips), "licence": licence}
    console.show(told, as_json, console.lines(told))


@app.command()
def manifest(
    folder: Annotated[Path, typer.Argument(help="A folder of recordings, or a list of them.")],
    out: Out = Path("manifest.jsonl"),
    layout: Annotated[
        str | None,
        typer.Option(
            help="folder, librispeech, common_voice, kaldi, nemo or lhotse; found out if it is not given."
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """List the clips of a folder in a manifest: one JSON object a line.

    Text is taken from `.txt` files beside the audio, from `metadata.csv`, or from whatever the layout has.
    Files without usable audio are left out; how many, which and why is printed.

    Example: `sonorant manifest recordings/ --out speech.jsonl`
    """
    from sonorant import corpora
    from sonorant.data.manifest import write

    with console.progress("looking at files", quiet) as bar:
        found = corpora.read(folder, out=out.parent / f"{out.stem}-audio", layout=layout, progress=bar)
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, found.clips)
    for path, reason in found.skipped:
        print(f"skipped {path}: {reason.removeprefix(f'{path}: ')}", file=sys.stderr)
    skipped = [{"path": path, "reason": reason} for path, reason in found.skipped]
    told = {"out": str(out), **console.summary(found.clips), "skipped": skipped}
    console.show(told, as_json, console.lines({**told, "skipped": len(skipped)}))


@app.command()
def align(
    manifest: Annotated[Path, typer.Argument(help="A manifest of English clips with texts.")],
    out: Out = Path("aligned.jsonl"),
    processes: Annotated[int, typer.Option(min=1, help="How many at once.")] = 2,
    quiet: Quiet = False,
) -> None:
    """Find the phones of English speech, for probes: clips get `units` with times.

    Needs `pip install 'sonorant[align]'`. Clips whose words are unknown or do not fit are left out.

    Example: `sonorant align paired.jsonl --out aligned.jsonl`
    """
    from sonorant.asr.align import align as run
    from sonorant.data.manifest import read, write

    with console.progress("aligning", quiet) as bar:
        aligned = run(read(manifest), processes=processes, progress=bar)
    for clip, reason in aligned.skipped.items():
        print(f"skipped {clip}: {reason}", file=sys.stderr)
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, aligned.clips)
    print(f"{out}: {len(aligned.clips)} clips aligned, {len(aligned.skipped)} skipped")


@app.command()
def pretrain(
    config: Configuration, overrides: Overrides = None, quiet: Quiet = False, as_json: AsJson = False
) -> None:
    """Learn a representation from untranscribed speech; the same command continues an interrupted run.

    Example: `sonorant pretrain best_rq data.manifest=speech.jsonl train.minutes=60`

    `train.processes=2` puts two cores to better use; for GPUs: `torchrun --nproc-per-node 2 -m sonorant ...`
    """
    from sonorant.config import convert, load
    from sonorant.recipes.pretrain import pretrain as run
    from sonorant.recipes.settings import PretrainConfig
    from sonorant.recipes.shipped import shipped

    settings = convert(load(shipped(config), overrides or ()), PretrainConfig)
    with console.continuable():
        best = run(settings, quiet=quiet)
    console.show({"run": settings.out, "best": str(best)}, as_json, f"best checkpoint: {best}")


@app.command()
def finetune(
    config: Configuration, overrides: Overrides = None, quiet: Quiet = False, as_json: AsJson = False
) -> None:
    """Make a recogniser of a pretrained encoder and transcribed speech (CTC over characters).

    With `from_scratch=true` the encoder keeps its shape and gets new weights: a control.

    Example: `sonorant finetune ctc pretrained=runs/best_rq data.manifest=paired.jsonl`
    """
    from sonorant.config import convert, load
    from sonorant.recipes.finetune import finetune as run
    from sonorant.recipes.settings import FinetuneConfig
    from sonorant.recipes.shipped import shipped

    settings = convert(load(shipped(config), overrides or ()), FinetuneConfig)
    with console.continuable():
        best = run(settings, quiet=quiet)
    console.show({"run": settings.out, "best": str(best)}, as_json, f"best checkpoint: {best}")


@app.command()
def extract(
    run: Annotated[str, typer.Argument(help="A run or checkpoint, or `log-mel` for the baseline.")],
    manifest: Annotated[Path, typer.Argument(help="The clips.")],
    out: Out = Path("features"),
    untrained: Annotated[bool, typer.Option(help="The same encoder with new weights: a control.")] = False,
    layer: Layers = None,
    to_score: Annotated[
        bool, typer.Option("--to-score", help="For `measure`: no frame sees what it is to predict.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the new weights.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Write the features of every clip and layer: `frontend`, then `layer_0` and on.

    Example: `sonorant extract runs/best_rq speech.jsonl --to-score --out features`
    """
    import torch

    from sonorant.data.manifest import read
    from sonorant.recipes import features
    from sonorant.recipes.settings import best_checkpoint, load_encoder

    torch.manual_seed(seed)
    checkpoint = Path(run) if run == "log-mel" else best_checkpoint(Path(run))
    encoder = features.log_mel() if run == "log-mel" else load_encoder(checkpoint, untrained=untrained)
    write = features.extract_to_score if to_score else features.extract
    provenance = {"checkpoint": str(checkpoint), "untrained": untrained, "manifest": str(manifest)}
    with console.progress("extracting", quiet) as bar:
        count = write(encoder, read(manifest), out, provenance=provenance, layers=layer, progress=bar)
    print(f"{out}: features of {count} clips")


@app.command()
def measure(
    features: Annotated[list[Path], typer.Argument(help="Folders that `extract` wrote.")],
    manifest: Annotated[
        Path | None,
        typer.Option(help="Clips with `units`: adds the labelled bound and the phone probe."),
    ] = None,
    layer: Layers = None,
    targets: Annotated[
        Path | None, typer.Option(help="Features whose clusters are predicted, the same for all.")
    ] = None,
    target_layer: Annotated[
        str | None, typer.Option(help="Their layer; else `frontend` after `extract --to-score`.")
    ] = None,
    curve: Annotated[bool, typer.Option(help="Over numbers of clusters and gaps.")] = False,
    seed: Annotated[int, typer.Option(help="Of clusters, probes and controls.")] = 0,
    out: Rows = None,
    as_json: AsJson = False,
) -> None:
    """Tell how good features are: a lower bound on the information that frames carry about later ones.

    No labels are needed; with phone labels in a manifest, a linear probe is added. Every figure has its 95 %
    interval and a shuffled control, which has to be about 0.

    Example: `sonorant measure features --out rows.jsonl`
    """
    from sonorant.data.manifest import read
    from sonorant.evaluate.rows import table, write_rows
    from sonorant.evaluate.store import FeatureStore
    from sonorant.recipes.measuring import measure as run

    clips = None if manifest is None else read(manifest)
    space = None if targets is None else FeatureStore(targets)
    rows = []
    for each in features:
        rows += run(
            FeatureStore(each),
            layers=layer,
            targets=space,
            target_layer=target_layer,
            clips=clips,
            whole_curve=curve,
            seed=seed,
        )
    if out is not None:
        write_rows(out, rows)
    console.show(console.plain(rows), as_json, table(rows))


@app.command()
def transcribe(
    run: Annotated[Path, typer.Argument(help="A fine-tuned run or one of its checkpoints.")],
    audio: Annotated[list[Path], typer.Argument(help="Audio files of any length, or manifests (.jsonl).")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder for the transcripts; else they are printed.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="text, srt or json.")] = "text",
    beam: Annotated[int | None, typer.Option(min=1, help="Prefixes that are kept; else greedy.")] = None,
) -> None:
    """Write down what is said, with the times of words in `json` and `srt`.

    Manifests give one JSON object a clip; where their clips have texts, the error rates are told.

    Example: `sonorant transcribe runs/ctc interview.mp3 --format srt --out subtitles`
    """
    from sonorant.recipes.transcribing import transcribe_all

    for name, content in transcribe_all(run, audio, form=form, width=beam):
        if out is None:
            print(content, end="")
        else:
            out.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(content, encoding="utf8")
            print(out / name)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run's folder, or one that holds several.")],
) -> None:
    """Write `report.html` into a run's folder: curves, tables, transcripts, a spectrogram with its features.

    Example: `sonorant report runs/best_rq`
    """
    from sonorant.recipes.report import write_report

    print(write_report(run))


@app.command()
def demo(
    out: Out = Path("demo"),
    minutes: Annotated[float, typer.Option(help="Of work, about, after the installation.")] = 15.0,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    as_json: AsJson = False,
) -> None:
    """The whole way on real speech: fetch, pretrain, score, fine-tune, transcribe, report.

    Where apt-get is missing, begin with a folder of your own: `sonorant manifest FOLDER`.

    Example: `sonorant demo --minutes 60 --seed 1`
    """
    from sonorant.recipes.demo import run_demo, summary

    rows = run_demo(out / "corpus", out / f"{minutes:g}min-seed{seed}", minutes=minutes, seed=seed)
    console.show(console.plain(rows), as_json, summary(rows))
