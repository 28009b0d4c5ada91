"""The layout of QUESST 2014: Audio/, dev_queries/, eval_queries/ and scoring/groundtruth_quesst14_*/*.rttm.

23 hours of documents in six languages, 555 and 560 spoken queries; X. Anguera et al., "QUESST2014: Evaluating
Query-by-Example Speech Search in a zero-resource setting with real-life queries", ICASSP 2015,
https://speech.fit.vutbr.cz/software/quesst-2014. Documents have the label `terms`, queries `query` and
`split`.
"""

from collections.abc import Iterator
from pathlib import Path

from sonorant.data.entries import Entry, audio_files
from sonorant.data.manifest import Clip

LICENCE = "as its organisers have it, for research"

QUERIES = {"dev_queries": "validation", "eval_queries": "test"}
TRUTH = "scoring/groundtruth_quesst14_*/*.rttm"


def matches(folder: Path) -> bool:
    """Whether audio and queries are there."""
    return all((folder / name).is_dir() for name in ("Audio", *QUERIES))


def read(folder: Path, out: Path) -> Iterator[Entry]:
    """An entry for each document and each query; a line of the truth tells what is in which document."""
    terms: dict[str, list[str]] = {}
    for file in sorted(folder.glob(TRUTH)):
        for line in file.read_text(encoding="utf8").splitlines():
            columns = line.split()
            if len(columns) > 5 and columns[0] == "LEXEME" and columns[5] != "NO_KEYWORD":
                terms.setdefault(columns[1], []).append(columns[5])
    for path in audio_files(folder / "Audio"):
        # a label has to say that nothing is in it, too
        labels = {"terms": " ".join(dict.fromkeys(terms.get(path.stem, []))) or "-"}
        yield Entry(Clip(path.stem, str(path), labels=labels, source="quesst"))
    for name, split in QUERIES.items():
        for path in audio_files(folder / name):
            labels = {"query": path.stem, "split": split}
            yield Entry(Clip(path.stem, str(path), labels=labels, source="quesst"))
