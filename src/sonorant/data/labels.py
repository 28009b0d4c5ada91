"""Labels by the names that somebody asks for."""

from collections.abc import Sequence

import msgspec

from sonorant.config import ConfigError
from sonorant.data.manifest import Clip

OWN = ("text", "speaker", "language")  # keys of a clip that a label may become


def renamed(clips: Sequence[Clip], words: Sequence[str]) -> list[Clip]:
    """Clips with labels renamed by words `NAME=OLD`: `OLD` becomes `NAME`, and `OLD.PART` `NAME.PART`. The
    names `text`, `speaker` and `language` are the clip's own keys.

    ConfigError: a word is not like that, or no clip has such a label.
    """
    for word in words:
        name, equals, old = word.partition("=")
        if not (name and equals and old):
            raise ConfigError(f"label: {word!r}: expected NAME=LABEL")
        changed = [_renamed(clip, name, old) for clip in clips]
        if changed == list(clips):
            known = sorted({each for clip in clips for each in clip.labels or ()})
            raise ConfigError(
                f"label: {old!r} is not a label of any clip; there are {', '.join(known) or 'none'}"
            )
        clips = changed
    return list(clips)


def _renamed(clip: Clip, name: str, old: str) -> Clip:
    labels = {
        name + each.removeprefix(old) if each == old or each.startswith(f"{old}.") else each: value
        for each, value in (clip.labels or {}).items()
    }
    if name in OWN and name in labels:
        value = labels.pop(name)
        clip = msgspec.structs.replace(clip, **{name: value})
    return msgspec.structs.replace(clip, labels=labels or None)
