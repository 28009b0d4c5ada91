"""Commands that use a recogniser: transcripts, and when what is known to be said is said."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sonorant import console
from sonorant.cli.app import app
from sonorant.console import LanguageModel, LanguageWeight, Out, Precision, Quiet, WordBonus


@app.command()
def transcribe(
    run: Annotated[
        Path,
        typer.Argument(help="A fine-tuned run, one of its checkpoints, or what `export` made of it (.onnx)."),
    ],
    audio: Annotated[
        list[Path],
        typer.Argument(help="Audio files of any length, folders with them, manifests (.jsonl)."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder for the transcripts; else they are printed.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="text, srt, vtt, json or ctm.")] = "text",
    beam: Annotated[
        int | None, typer.Option(min=1, help="Prefixes that are kept; else greedy, or 32 with --lm.")
    ] = None,
    precision: Precision = "auto",
    lm: LanguageModel = None,
    lm_weight: LanguageWeight = 0.5,
    word_bonus: WordBonus = 1.0,
    hot_words: Annotated[str | None, typer.Option(help="Words to expect, with commas between.")] = None,
    ctc_weight: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Of CTC beside an attention decoder. Default: as in training."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write down what is said, with the times of words in `srt`, `vtt`, `json` and `ctm`.

    A folder's files keep their places below --out, each whole as soon as it is done. What cannot be read is
    named and left out, and the command then ends with 1. Manifests give one JSON object a clip; where their
    clips have texts, the error rates are told.

    Example: `sonorant transcribe runs/ctc interviews/ --format srt --out subtitles`
    """
    from sonorant.recipes.language import language
    from sonorant.recipes.sources import write_whole
    from sonorant.recipes.transcribing import transcribe_all

    known = language(lm, hot_words, weight=lm_weight, word_bonus=word_bonus)
    skipped = []
    with console.progress("transcribing", quiet or out is None) as bar:
        for each in transcribe_all(
            run,
            audio,
            form=form,
            width=beam,
            precision=precision,
            language=known,
            ctc_weight=ctc_weight,
            progress=bar,
        ):
            if each.content is None:
                skipped.append((str(each.path), each.reason))
                console.tell_skipped(skipped[-1:])
            elif out is None:
                if len(audio) > 1 or audio[0].is_dir():
                    print(f"{each.path}:", file=sys.stderr)
                print(each.content, end="")
            else:
                write_whole(out / each.name, each.content)
                print(out / each.name)
    if skipped:
        print(f"{len(skipped)} could not be read, the others are done", file=sys.stderr)
        raise typer.Exit(console.FAILURE)


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
