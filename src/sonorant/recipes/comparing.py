"""From two folders of features to one comparison: its rows, its pictures, and what is printed."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from sonorant.evaluate.alike import MEASURES
from sonorant.evaluate.rows import Row, write_rows
from sonorant.evaluate.similarity import FRAMES, Comparison, Progress
from sonorant.evaluate.similarity import compare as run
from sonorant.evaluate.store import FeatureStore
from sonorant.recipes.measuring import Measurer
from sonorant.recipes.sections import heat

COMPARISON, ROWS = "comparison.json", "rows.jsonl"
CONTROL = "other utterances"


def compare(
    first: Path,
    second: Path,
    *,
    layers: Sequence[str] | None = None,
    measures: Sequence[str] = MEASURES,
    frames: int = FRAMES,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Every layer of one folder of features against every layer of another; see `evaluate/similarity.py`.

    `out` becomes a folder with the comparison, its rows and its pictures, in place of an earlier one's.
    """
    stores = FeatureStore(first), FeatureStore(second)
    if out is not None:
        heat.check()
        out.mkdir(parents=True, exist_ok=True)
    comparison = run(
        *stores,
        names=_names(first, second),
        layers=layers,
        measures=measures,
        frames=frames,
        seed=seed,
        progress=progress,
    )
    if out is not None:
        (out / COMPARISON).write_bytes(msgspec.json.format(msgspec.json.encode(comparison)) + b"\n")
        (out / ROWS).unlink(missing_ok=True)
        write_rows(out / ROWS, rows(comparison))
        heat.draw(comparison, out)
    return comparison


def rows(comparison: Comparison) -> list[Row]:
    """A row for each measure and pair of layers, one for its floor, and one for each control."""
    measurer = Measurer("compare", comparison.seed)
    first, second, n = comparison.first, comparison.second, comparison.utterances
    result = []
    for measure, values in comparison.values.items():
        for place, layer in enumerate(comparison.first_layers):
            best = comparison.best[measure][place]
            for column, other in enumerate(comparison.second_layers):
                low, high = (best.low, best.high) if other == best.layer else (None, None)
                task, value = f"similarity to {second} {other}", values[place][column]
                floor = comparison.floors[measure][place][column]
                result += [
                    measurer.row(f"{first} {layer}", task, measure, value, low=low, high=high, n=n),
                    measurer.row(f"{first} {layer}, {CONTROL}", task, measure, floor, n=n),
                ]
    for task, control in (("itself", comparison.itself), ("itself, rotated", comparison.rotated)):
        for measure, value in control.items():
            result.append(
                measurer.row(f"{first}, lowest layer", f"similarity to {task}", measure, value, n=n)
            )
    return result


def text(comparison: Comparison) -> str:
    """What each layer is most like, as a Markdown table, and the controls."""
    about = (
        f"{comparison.first} against {comparison.second}: {comparison.frames} frames, one every "
        f"{comparison.frame_seconds:g} s, of {comparison.utterances} utterances; "
        f"{comparison.sampled} of them for rbf_cka and mutual_knn; {comparison.seconds:.1f} s"
    )
    lines = [
        about,
        "",
        f"| measure | {comparison.first} | most like | value | 95 % interval | {CONTROL} |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    for measure, best in comparison.best.items():
        for layer, found in zip(comparison.first_layers, best, strict=True):
            interval = "" if found.low is None else f"[{found.low:.3f}, {found.high:.3f}]"
            cells = (measure, layer, found.layer, f"{found.value:.3f}", interval, f"{found.floor:.3f}")
            lines.append(f"| {' | '.join(cells)} |")
    for name, control in (("itself", comparison.itself), ("itself, rotated", comparison.rotated)):
        told = ", ".join(f"{measure} {value:.4g}" for measure, value in control.items())
        lines += ["", f"{comparison.first} against {name} (lowest layer): {told}"]
    return "\n".join(lines)


def _names(first: Path, second: Path) -> tuple[str, str]:
    """The folders' names, with as many of those above as tell them apart."""
    parts = first.resolve().parts, second.resolve().parts
    for count in range(1, max(map(len, parts))):
        names = "/".join(parts[0][-count:]), "/".join(parts[1][-count:])
        if names[0] != names[1]:
            return names
    return first.name, second.name
