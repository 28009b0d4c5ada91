"""QbE, search by example: which documents hold what a spoken query says? Nothing is trained.

In SUPERB QUESST 2014, each layer by itself, the best one on the development queries. A query has the label
`query`, its term; a document has the label `terms`, all it holds with spaces between, or a `text` in which
the term stands as whole words. Queries whose label `split` is `test` measure, the others choose the layer;
without such labels every other query does either.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sonorant.data.manifest import Clip
from sonorant.data.text import normalize
from sonorant.evaluate.detection import mtwv, search, standardised
from sonorant.evaluate.ratios import Measured
from sonorant.evaluate.sampling import Parts, SamplingError, interval, resamples
from sonorant.task import SPLIT, LayerTask, label

REPLICATES = 200  # of the bootstrap
SHORTEST = 5  # frames of a query; scores of shorter ones are all the same


class Task(LayerTask):
    """The maximum term-weighted value, with an interval over queries."""

    title = "QbE"
    metric = "mtwv"
    higher = True
    data = "a label `query`, or a label `terms` or a `text` to search in"

    @classmethod
    def takes(cls, clip: Clip) -> bool:
        return bool(label(clip, "query") or label(clip, "terms") or clip.text)

    @classmethod
    def parts(cls, clips: Sequence[Clip]) -> list[Parts]:
        """Documents are the `train` part; queries are in two halves by a hash where no label says more."""
        queries = [clip for clip in clips if label(clip, "query")]
        documents = tuple(clip.id for clip in clips if not label(clip, "query"))
        if len(queries) < 2 or len(documents) < 2:
            raise SamplingError(
                f"{len(queries)} clips with a label `query`, {len(documents)} documents: two of each at least"
            )
        names = sorted(clip.id for clip in queries)
        test = {clip.id for clip in queries if label(clip, SPLIT) == "test"}
        if not 0 < len(test) < len(names):
            test = set(names[1::2])
        chosen = tuple(name for name in names if name not in test)
        return [Parts(documents, chosen, tuple(name for name in names if name in test))]

    @classmethod
    def score(
        cls,
        queries: Sequence[Clip],
        documents: Sequence[Clip],
        query_frames: Sequence[Float[Tensor, "_ dim"]],
        document_frames: Sequence[Float[Tensor, "_ dim"]],
    ) -> list[Measured]:
        every = torch.cat([*query_frames, *document_frames])
        spread, mean = torch.std_mean(every, 0)
        scale = 1 / spread.clamp(min=1e-9)
        searched = [(frames - mean) * scale for frames in document_frames]
        scores = torch.stack(
            [
                standardised(search((frames - mean) * scale, searched))
                if len(frames) >= SHORTEST
                else torch.zeros(len(searched))
                for frames in query_frames
            ]
        )
        held = holds(queries, documents)
        value, count = mtwv(scores, held), len(queries)
        if count < 2:
            return [Measured(cls.metric, value, value, value, count, "clips")]
        values = [mtwv(scores, held, drawn) for drawn in resamples(count, seed=0, replicates=REPLICATES)]
        low, high = interval(torch.tensor(values))
        return [Measured(cls.metric, value, low, high, count, "clips")]


def holds(queries: Sequence[Clip], documents: Sequence[Clip]) -> Bool[Tensor, "queries documents"]:
    """Whether each document holds each query's term."""
    terms = [normalize(label(clip, "query") or "") for clip in queries]
    inside = []
    for clip in documents:
        listed = label(clip, "terms")
        inside.append(f" {normalize(clip.text or '' if listed is None else listed)} ")
    return torch.tensor([[f" {term} " in text for text in inside] for term in terms])
