"""From feature stores to ABX error rates: rows for each layer, within and across speakers."""

from collections.abc import Callable, Sequence
from typing import get_args

from sonorant.data.manifest import Clip
from sonorant.evaluate.abx import Discriminability, abx
from sonorant.evaluate.cells import Speakers
from sonorant.evaluate.dtw import Distance
from sonorant.evaluate.items import Items, Kind, items
from sonorant.evaluate.rows import Row
from sonorant.evaluate.sampling import SamplingError
from sonorant.evaluate.store import FeatureStore
from sonorant.recipes.measuring import Measurer


def discriminability(
    store: FeatureStore,
    clips: Sequence[Clip],
    *,
    layers: Sequence[str] | None = None,
    kind: Kind = "triphone",
    distance: Distance = "angular",
    limit: int | None = None,
    other_speakers: int | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> list[Row]:
    """The ABX error rate of layers within speakers and, if there are several, across.

    What the clips do not allow is said in a line each. ValueError: they allow neither, or `kind` or
    `distance` is unknown.
    """
    for name, value, known in (("items", kind, get_args(Kind)), ("distance", distance, get_args(Distance))):
        if value not in known:
            raise ValueError(f"{name}: {value!r} is not known, there are {', '.join(known)}")
    measurer = Measurer("abx", seed)
    rows: list[Row] = []
    told: dict[str, None] = {}
    for layer in layers or store.layers:
        found = items(store, layer, clips, kind=kind, limit=limit, seed=seed)
        told.update(dict.fromkeys(_remarks(found)))
        for speakers in _conditions(found):
            subject = f"{store.path.name} {layer}"
            try:
                result = abx(
                    found, speakers=speakers, distance=distance, other_speakers=other_speakers, seed=seed
                )
            except SamplingError as error:
                told[str(error)] = None
            else:
                rows.append(row(measurer, subject, result, kind=kind, speakers=speakers))
    if not rows:
        raise SamplingError(f"{store.path}: {'; '.join(told)}")
    for line in told:
        say(f"{store.path}: {line}")
    return rows


def row(measurer: Measurer, subject: str, result: Discriminability, *, kind: Kind, speakers: Speakers) -> Row:
    """A result; its task says what the interval is over."""
    what = "phone in any context" if kind == "any" else kind
    return measurer.row(
        subject,
        f"ABX {what}, {speakers} speakers, interval over {result.over}",
        "error rate",
        result.error,
        low=result.low,
        high=result.high,
        n=result.n,
        seconds=result.seconds,
    )


def _conditions(found: Items) -> tuple[Speakers, ...]:
    return ("within", "across") if len(found.voices) > 1 else ("within",)


def _remarks(found: Items) -> list[str]:
    """What the clips do not allow."""
    remarks = []
    if found.unknown:
        remarks.append(f"{found.unknown} clips without a speaker are left out")
    if found.voices == ("",):
        remarks.append("no clip names a speaker: all count as one, within speakers only")
    elif len(found.voices) == 1:
        remarks.append(f"one speaker ({found.voices[0]}): within speakers only")
    return remarks
