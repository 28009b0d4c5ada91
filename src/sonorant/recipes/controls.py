"""Features that figures are held against: of the encoder untrained, of log-mel alone, and of no use."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sonorant.data.manifest import Clip, read
from sonorant.encoders.base import FRONTEND, Upstream
from sonorant.evaluate.store import FeatureStore, FeatureWriter
from sonorant.recipes.features import extract, log_mel
from sonorant.recipes.upstream import load_upstream

COLLAPSED = "collapsed"


@dataclass(frozen=True)
class Control:
    """A layer to measure like those of the store that it is made for."""

    name: str
    store: FeatureStore
    layer: str


def controls(
    store: FeatureStore, layers: Sequence[str], folder: Path, *, seed: int, say: Callable[[str], None]
) -> Iterator[Control]:
    """Controls of these layers, on the store's own utterances and in sections as long; written into a folder.

    Collapsed frames are all the same. The untrained encoder and log-mel need the checkpoint and the manifest
    that the store was made of: where they are gone, `say` is told and these controls are left out.
    """
    yield Control(COLLAPSED, _collapsed(store, folder / COLLAPSED), COLLAPSED)
    manifest, checkpoint = (str(store.provenance.get(key, "")) for key in ("manifest", "checkpoint"))
    if not Path(manifest).is_file():
        say(f"{store.path}: no controls of the untrained encoder and log-mel: manifest {manifest!r} is gone")
        return
    known = set(store.ids)
    clips = [clip for clip in read(Path(manifest)) if clip.id in known]
    untrained = _untrained(store, checkpoint, seed)
    if untrained is None:
        say(f"{store.path}: no control of the untrained encoder: {checkpoint!r} is no checkpoint")
    else:
        made = _extracted(untrained, clips, store, folder / "untrained")
        for layer in layers:
            if layer in made.layers and layer != FRONTEND:
                yield Control(f"{layer}, untrained", made, layer)
    rate = 16000 if untrained is None else untrained.front().rate
    yield Control("log-mel", _extracted(log_mel(rate), clips, store, folder / "log-mel"), FRONTEND)


def _untrained(store: FeatureStore, checkpoint: str, seed: int) -> Upstream | None:
    """The encoder that the store is of, with new weights; None for a baseline, or where it is gone."""
    if store.provenance.get("untrained") or not Path(checkpoint, "config.json").is_file():
        return None
    torch.manual_seed(seed)
    return load_upstream(Path(checkpoint), untrained=True)


def _extracted(upstream: Upstream, clips: Sequence[Clip], store: FeatureStore, out: Path) -> FeatureStore:
    sections = None if store.section is None else store.section * store.frame_seconds
    extract(upstream, clips, out, provenance={}, sections=sections)
    return FeatureStore(out)


def _collapsed(store: FeatureStore, out: Path) -> FeatureStore:
    """A store of as many frames, each of which is 1."""
    with FeatureWriter(
        out,
        frame_seconds=store.frame_seconds,
        first_centre=store.first_centre,
        provenance={},
        sees_future=store.sees_future,
        section=store.section,
    ) as writer:
        for name in store.ids:
            writer.add(name, {COLLAPSED: torch.ones(store.lengths[name], 1)})
    return FeatureStore(out)
