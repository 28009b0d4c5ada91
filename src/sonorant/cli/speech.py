"""The command that makes speech of text."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sonorant import console
from sonorant.cli.app import app
from sonorant.console import AsJson, LanguageModel, LanguageWeight, Out, Quiet, WordBonus


@app.command()
def speak(
    text: Annotated[Path, typer.Argument(help="A file with a sentence a line.")],
    out: Out = Path("speech"),
    engine: Annotated[str, typer.Option(help="flite, espeak-ng, hibari or piper.")] = "flite",
    voices: Annotated[
        str | None,
        typer.Option(help="With commas between; OTHER-ENGINE:VOICE for another one's. Default: a few."),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(help="Another program: 'mytts --out {out} --text {text}'; {voice} and {pace}, too."),
    ] = None,
    paces: Annotated[
        str, typer.Option(help="Of each voice's own speed, with commas; one is drawn for each sentence.")
    ] = "0.9,1,1.1",
    language: Annotated[str, typer.Option(help="Of the text, for its numbers: en, it, ...")] = "en",
    seed: Annotated[int, typer.Option(help="Of voices and paces.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Sentences spoken at once.")] = 2,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a sentence may take.")] = 60.0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make speech of text by synthesis: 16 kHz FLAC files of one loudness, and a manifest with their texts.

    The same command continues an interrupted run. Sentences that are not spoken are listed and left out.

    Example: `sonorant speak sentences.txt --voices slt,rms,espeak-ng:en-gb --out speech`
    """
    from sonorant.config import convert
    from sonorant.recipes.speaking import MANIFEST, speak_text
    from sonorant.tts.speak import SpeakConfig

    settings = {
        "seed": seed,
        "paces": console.numbers("paces", paces, float, ()),
        "language": language,
        "threads": threads,
        "seconds": timeout,
    }
    with console.continuable("sentence"), console.progress("speaking", quiet) as bar:
        found = speak_text(
            text,
            out,
            engine=engine,
            voices=() if voices is None else voices.split(","),
            line=command,
            config=convert(settings, SpeakConfig),
            progress=bar,
        )
    for line, reason in found.skipped:
        print(f"skipped {text}:{line}: {reason}", file=sys.stderr)
    skipped = [{"line": line, "reason": reason} for line, reason in found.skipped]
    told = {
        "out": str(out / MANIFEST),
        **console.summary(found.clips),
        "voices": len({clip.speaker for clip in found.clips}),
        "new": found.made,
        "repeated": found.repeated,
        "skipped": skipped,
    }
    console.show(told, as_json, console.lines({**told, "skipped": len(skipped)}))


@app.command()
def label(
    run: Annotated[Path, typer.Argument(help="A fine-tuning run, a checkpoint or a .onnx file.")],
    manifest: Annotated[Path, typer.Argument(help="Clips, with or without texts.")],
    out: Out = Path("pseudo.jsonl"),
    keep: Annotated[
        float | None, typer.Option(min=0, max=1, help="The share of the clips that is kept, the surest.")
    ] = None,
    min_confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="Or the least confidence of a clip that is kept.")
    ] = None,
    beam: Annotated[
        int | None, typer.Option(min=1, help="Prefixes that are kept; else greedy, or 32 with --lm.")
    ] = None,
    lm: LanguageModel = None,
    lm_weight: LanguageWeight = 0.5,
    word_bonus: WordBonus = 1.0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Transcribe clips for training: a manifest with texts and the confidence of each character.

    Without --keep and --min-confidence every clip with a word is written. Texts that the clips have are
    replaced; against them the errors and the worth of the confidences are told.

    Example: `sonorant label runs/ctc speech.jsonl --keep 0.8 --out pseudo.jsonl`

    Then: `sonorant finetune ctc pretrained=RUN data.manifest=paired.jsonl pseudo.manifest=pseudo.jsonl`
    """
    from sonorant.data.manifest import read, write
    from sonorant.recipes import labelling
    from sonorant.recipes.fit import say
    from sonorant.recipes.language import BEAM, language
    from sonorant.recipes.recognise import load_recogniser

    known = language(lm, None, weight=lm_weight, word_bonus=word_bonus)
    recogniser = load_recogniser(run)
    with console.progress("labelling", quiet) as bar:
        labels = labelling.label(
            read(manifest),
            recogniser,
            keep=keep,
            minimum=min_confidence,
            width=beam or (BEAM if known is not None else None),
            scorer=None if known is None else known.scorer(recogniser.vocabulary),
            progress=bar,
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, labels.kept)
    told, rows = {"out": str(out), **labelling.summary(labels)}, labelling.histogram(labels)
    for line in labelling.doubts(told):
        say(f"{out}: {line}", quiet=quiet)
    console.show({**told, "histogram": rows}, as_json, f"{labelling.picture(rows)}\n{console.lines(told)}")
