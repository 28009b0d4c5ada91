"""Commands about recordings: fetch them, list them, simulate the rooms they might be from."""

from pathlib import Path
from typing import Annotated

import typer

from sonorant import console
from sonorant.cli.app import app
from sonorant.console import AsJson, Out, Quiet


@app.command()
def corpus(
    name: Annotated[str, typer.Argument(help="Which one; `list` shows them.")],
    out: Out = Path("corpus"),
    as_json: AsJson = False,
) -> None:
    """Fetch a corpus: its audio, its manifests and its licence.

    `queen` is 4.5 hours of English dialogue and `festvox_ru` 1.7 hours of a Russian voice with phone labels,
    both with a low-resource split; `asterisk` has prompts in five languages. They come from Debian packages,
    without root.

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
            help="folder, table, librispeech, common_voice, kaldi, nemo, lhotse, webdataset, "
            "speech_commands, voxceleb, iemocap, fluent_speech_commands, snips, quesst, libri2mix; "
            "else detected."
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="NAME=COLUMN gives a label another name; also text, speaker. May be repeated."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """List the clips of a folder in a manifest: one JSON object a line.

    Text is taken from `.txt` files beside the audio, from `metadata.csv`, or from whatever the layout has.
    Files without usable audio are left out; how many, which and why is printed. Archives (WebDataset, Lhotse
    Shar) are not unpacked: the manifest tells where in them a clip lies.

    Example: `sonorant manifest recordings/ --out speech.jsonl`
    """
    from sonorant import corpora
    from sonorant.data.labels import renamed
    from sonorant.data.manifest import write

    with console.progress("looking at files", quiet) as bar:
        found = corpora.read(folder, out=out.parent / f"{out.stem}-audio", layout=layout, progress=bar)
    clips = renamed(found.clips, label or ())
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, clips)
    console.tell_skipped(found.skipped)
    skipped = [{"path": path, "reason": reason} for path, reason in found.skipped]
    told = {"out": str(out), **console.summary(clips), "skipped": skipped}
    console.show(told, as_json, console.lines({**told, "skipped": len(skipped)}))


@app.command()
def rooms(
    out: Out = Path("rooms"),
    count: Annotated[int, typer.Option(min=1, help="How many rooms.")] = 100,
    rate: Annotated[int, typer.Option(min=1000, help="Samples a second.")] = 16000,
    seed: Annotated[int, typer.Option(min=0, help="Of sizes, walls and places.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Simulate rooms for augmentation: WAV files with their responses to an impulse.

    Shoeboxes of 3 to 10 m and 0.2 to 0.6 s of reverberation, by the image source method. Needs
    `pip install 'sonorant[rooms]'`. Methods that distort speech take the folder as a setting.

    Example: `sonorant rooms --out rooms --count 200`

    Then: `sonorant pretrain simclr data.manifest=speech.jsonl objective.views.rooms=rooms`
    """
    from sonorant.recipes.rooms import write_rooms

    with console.progress("simulating", quiet) as bar:
        write_rooms(out, count, rate=rate, seed=seed, progress=bar)
    print(f"{out}: responses of {count} rooms")
