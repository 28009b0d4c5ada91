"""Intervals as Praat shows and edits them."""

from collections.abc import Iterator, Mapping, Sequence

Unit = tuple[str, float, float]  # a label and its start and end in seconds, as a manifest's `units`


def textgrid(tiers: Mapping[str, Sequence[Unit]], seconds: float) -> str:
    """A TextGrid in its long form, https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html: for
    each tier all intervals from 0 to `seconds`, those between units with an empty text.

    Units are in order and do not overlap; none has no length.
    """
    head = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {seconds:.4f}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, units) in enumerate(tiers.items(), start=1):
        intervals = list(_filled(units, seconds))
        head += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(name)}",
            "        xmin = 0",
            f"        xmax = {seconds:.4f}",
            f"        intervals: size = {len(intervals)}",
        ]
        for place, (label, start, end) in enumerate(intervals, start=1):
            head += [
                f"        intervals [{place}]:",
                f"            xmin = {start}",
                f"            xmax = {end}",
                f"            text = {_quoted(label)}",
            ]
    return "\n".join([*head, ""])


def _filled(units: Sequence[Unit], seconds: float) -> Iterator[tuple[str, str, str]]:
    """Every interval, with its times as they are written: neighbours share the edge to the last digit."""
    last = f"{0.0:.4f}"
    for label, *times in (*units, ("", seconds, seconds)):
        start, end = (f"{time:.4f}" for time in times)
        if last != start:
            yield "", last, start
        if start != end:
            yield label, start, end
        last = end


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'
