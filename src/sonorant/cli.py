"""The command line: one command a stage, each with a file between it and the next.

torch is imported by what needs it, so that help answers at once.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="sonorant",
    help="Learn from untranscribed speech: representations, label-free scores, low-resource recognisers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

MISTAKE, FAILURE, INTERRUPTED = 2, 1, 130

Out = Annotated[Path, typer.Option("--out", "-o", help="Where to write.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on the standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Settings laid over the configuration's."),
]


def main() -> None:
    """Runs a command; a user's mistake ends with 2, a failure with 1, each in one line."""
    from sonorant.errors import is_failure

    try:
        app()
    except KeyboardInterrupt:
        print("interrupted; the same command continues from the last checkpoint", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except ValueError as error:
        print(f"sonorant: {error}", file=sys.stderr)
        raise SystemExit(FAILURE if is_failure(error) else MISTAKE) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"sonorant: {where}{error.strerror or error}", file=sys.stderr)
        raise SystemExit(MISTAKE if isinstance(error, FileNotFoundError) else FAILURE) from None


@app.command()
def corpus(
    name: Annotated[str, typer.Argument(help="Which one; `sonorant corpus list` shows them.")],
    out: Out = Path("corpus"),
    as_json: AsJson = False,
) -> None:
    """Fetch a corpus: its audio, its manifests and its licence.

    `queen` is 4.5 hours of English dialogue with a low-resource split, `asterisk` prompts in five languages,
    `festvox_ru` a Russian voice with phone labels. They come from Debian packages, without root.
    """
    from sonorant import corpora

    if name == "list":
        found = {
            each: (corpora.find(each).__doc__ or "").partition("\n")[0] for each in corpora.collections()
        }
        _print(found, as_json, "\n".join(f"{key}: {text}" for key, text in found.items()))
        return
    clips = corpora.fetch(name, out)
    summary = {"corpus": name, "out": str(out), **_summary(clips), "licence": corpora.find(name).LICENCE}
    _print(summary, as_json, _told(summary))


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
    """
    from sonorant import corpora
    from sonorant.data.manifest import write

    with progress("looking at files", quiet) as show:
        found = corpora.read(folder, out=out.parent / f"{out.stem}-audio", layout=layout, progress=show)
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, found.clips)
    for path, reason in found.skipped:
        print(f"skipped {path}: {reason}", file=sys.stderr)
    skipped = [{"path": path, "reason": reason} for path, reason in found.skipped]
    summary = {"out": str(out), **_summary(found.clips), "skipped": skipped}
    _print(summary, as_json, _told({**summary, "skipped": len(skipped)}))


@app.command()
def align(
    manifest: Annotated[Path, typer.Argument(help="A manifest of English clips with texts.")],
    out: Out = Path("aligned.jsonl"),
    processes: Annotated[int, typer.Option(help="How many at once.")] = 2,
    quiet: Quiet = False,
) -> None:
    """Find the phones of English speech, for probes: clips get `units` with times.

    Needs `pip install 'sonorant[align]'`. Clips whose words are unknown or do not fit are left out.
    """
    from sonorant.asr.align import align as run
    from sonorant.data.manifest import read, write

    with progress("aligning", quiet) as show:
        aligned = run(read(manifest), processes=processes, progress=show)
    for clip, reason in aligned.skipped.items():
        print(f"skipped {clip}: {reason}", file=sys.stderr)
    write(out, aligned.clips)
    print(f"{out}: {len(aligned.clips)} clips aligned, {len(aligned.skipped)} skipped")


@app.command()
def pretrain(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped configuration.")],
    overrides: Overrides = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Learn a representation from untranscribed speech; the same command continues an interrupted run.

    Example: `sonorant pretrain best_rq data.manifest=speech.jsonl train.minutes=60`. Several processes:
    `torchrun --nproc-per-node 2 -m sonorant pretrain ...`.
    """
    from sonorant.config import convert, load
    from sonorant.recipes.pretrain import pretrain as run
    from sonorant.recipes.settings import PretrainConfig
    from sonorant.recipes.shipped import shipped

    settings = convert(load(shipped(config), overrides or ()), PretrainConfig)
    best = run(settings, quiet=quiet)
    _print({"run": settings.out, "best": str(best)}, as_json, f"best checkpoint: {best}")


@app.command()
def finetune(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped configuration.")],
    overrides: Overrides = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a recogniser of a pretrained encoder and transcribed speech (CTC over characters).

    Example: `sonorant finetune ctc pretrained=runs/best_rq data.manifest=paired.jsonl`.
    """
    from sonorant.config import convert, load
    from sonorant.recipes.finetune import finetune as run
    from sonorant.recipes.settings import FinetuneConfig
    from sonorant.recipes.shipped import shipped

    settings = convert(load(shipped(config), overrides or ()), FinetuneConfig)
    best = run(settings, quiet=quiet)
    _print({"run": settings.out, "best": str(best)}, as_json, f"best checkpoint: {best}")


@app.command()
def extract(
    run: Annotated[str, typer.Argument(help="A run or checkpoint, or `log-mel` for the baseline.")],
    manifest: Annotated[Path, typer.Argument(help="The clips.")],
    out: Out = Path("features"),
    untrained: Annotated[bool, typer.Option(help="The same encoder with new weights: a control.")] = False,
    layer: Annotated[list[str] | None, typer.Option(help="Only this layer; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="For --untrained.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Write the features of every clip and layer: `frontend`, then `layer_0` and on."""
    import torch

    from sonorant.data.manifest import read
    from sonorant.recipes.features import extract as write_features
    from sonorant.recipes.features import log_mel
    from sonorant.recipes.recognise import best_checkpoint
    from sonorant.recipes.settings import load_encoder

    torch.manual_seed(seed)
    checkpoint = Path(run) if run == "log-mel" else best_checkpoint(Path(run))
    encoder = log_mel() if run == "log-mel" else load_encoder(checkpoint, untrained=untrained)
    provenance = {"checkpoint": str(checkpoint), "untrained": untrained, "manifest": str(manifest)}
    with progress("extracting", quiet) as show:
        count = write_features(
            encoder, read(manifest), out, provenance=provenance, layers=layer, progress=show
        )
    print(f"{out}: features of {count} clips")


@app.command()
def measure(
    features: Annotated[list[Path], typer.Argument(help="Folders that `extract` wrote.")],
    manifest: Annotated[
        Path | None,
        typer.Option(help="Clips with `units`: adds the labelled bound and the phone probe."),
    ] = None,
    layer: Annotated[list[str] | None, typer.Option(help="Only this layer; may be repeated.")] = None,
    targets: Annotated[
        Path | None, typer.Option(help="Features whose clusters are predicted, the same for all.")
    ] = None,
    target_layer: Annotated[
        str | None, typer.Option(help="Their layer; `frontend` compares layers fairly.")
    ] = None,
    curve: Annotated[bool, typer.Option(help="Over numbers of clusters and gaps.")] = False,
    seed: Annotated[int, typer.Option(help="Of clusters, probes and controls.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Append the rows to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell how good features are: a lower bound on the information that frames carry about later ones.

    No labels are needed; with phone labels in a manifest, a linear probe is added. Every figure has its 95 %
    interval and a shuffled control, which has to be about 0.
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
    _print(_plain(rows), as_json, table(rows))


@app.command()
def transcribe(
    run: Annotated[Path, typer.Argument(help="A fine-tuned run or one of its checkpoints.")],
    audio: Annotated[list[Path], typer.Argument(help="Audio files of any length, or manifests (.jsonl).")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder for the transcripts; else they are printed.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="text, srt or json.")] = "text",
    beam: Annotated[int | None, typer.Option(help="Prefixes that beam search keeps; else greedy.")] = None,
) -> None:
    """Write down what is said, with the times of words in `json` and `srt`.

    Manifests give one JSON object a clip; where their clips have texts, the error rates are told.
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
    """Write `report.html` into a run's folder: curves, tables, transcripts, a spectrogram with its features."""
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
    """
    from sonorant.recipes.demo import run_demo, summary

    rows = run_demo(out / "corpus", out / f"{minutes:g}min-seed{seed}", minutes=minutes, seed=seed)
    _print(_plain(rows), as_json, summary(rows))


@contextmanager
def progress(what: str, quiet: bool) -> Iterator[Any]:
    """A bar with the time left on a terminal, nothing elsewhere; yields `show(done, total)`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _summary(clips: list[Any]) -> dict[str, Any]:
    texts = sum(clip.text is not None for clip in clips)
    hours = sum(clip.seconds for clip in clips) / 3600
    return {"clips": len(clips), "hours": round(hours, 3), "with text": texts}


def _told(summary: dict[str, Any]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in summary.items())


def _plain(rows: list[Any]) -> list[dict[str, Any]]:
    import msgspec

    plain: list[dict[str, Any]] = msgspec.to_builtins(rows)
    return plain


def _print(value: Any, as_json: bool, text: str) -> None:
    print(json.dumps(value, ensure_ascii=False) if as_json else text)
