"""Which published model a folder holds, and the model."""

from pathlib import Path

from sonorant.config import ConfigError
from sonorant.encoders.base import Upstream
from sonorant.upstreams import ctranslate2, saved, wav2vec2, whisper

WHISPER = "whisper"
EXPECTED = (
    f"a run with its step_ folders; config.json with a model_type of {', '.join(wav2vec2.FAMILIES)} or "
    f"{WHISPER} beside {saved.WEIGHTS[0]} or {saved.WEIGHTS[1]}, as transformers saves them; or a Whisper's "
    f"{ctranslate2.FILE}, as CTranslate2 does"
)


def load(folder: Path, *, untrained: bool = False) -> Upstream:
    """The model that a folder holds, in single precision; `untrained` with new weights.

    ConfigError: it holds none that is known, a file is missing or damaged, or transformers is not installed.
    """
    kind = saved.config(folder).get("model_type")
    if kind in wav2vec2.FAMILIES:
        return wav2vec2.load(folder, untrained=untrained)
    if kind == WHISPER:
        return whisper.load(folder, untrained=untrained)
    if (folder / ctranslate2.FILE).is_file():
        return whisper.load_ctranslate2(folder, untrained=untrained)
    raise ConfigError(
        f"{folder}: neither a run nor a known model: found {_found(folder, kind)}; expected {EXPECTED}"
    )


def _found(folder: Path, kind: object) -> str:
    if not folder.is_dir():
        return "no folder"
    names = sorted(each.name for each in folder.iterdir())
    told = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return (told or "nothing") + ("" if kind is None else f", model_type {kind!r}")
