"""Guards the search by example: what is in a document, which layer is taken, an end with nothing found."""

import pytest
import torch

from sonorant.data.manifest import Clip
from sonorant.evaluate.sampling import SamplingError
from sonorant.task import find
from sonorant.tasks.qbe import holds

QBE = find("qbe")


def query(name, term, **labels):
    return Clip(name, "x.wav", labels={"query": term, **labels})


def test_terms_are_listed_or_whole_words_of_the_text():
    queries = [query("a", "Cat"), query("b", "at")]
    documents = [
        Clip("x", "x.wav", text="The cat."),
        Clip("y", "x.wav", text="A catalogue", labels={"terms": "at q"}),
        Clip("z", "x.wav", labels={"terms": "-"}),
    ]
    assert holds(queries, documents).tolist() == [[True, False, False], [False, True, False]]


def test_queries_measure_where_a_label_says_so_else_every_other_one_does():
    documents = [Clip(f"d{n}", "x.wav", text="a") for n in range(3)]
    labelled = [query(f"q{n}", "a", split="test" if n else "dev") for n in range(3)]
    (parts,) = QBE.parts([*labelled, *documents])
    assert (parts.validation, parts.test, len(parts.train)) == (("q0",), ("q1", "q2"), 3)
    (parts,) = QBE.parts([*(query(f"q{n}", "a") for n in range(4)), *documents])
    assert (parts.validation, parts.test) == (("q0", "q2"), ("q1", "q3"))
    with pytest.raises(SamplingError, match="1 clips with a label `query`, 3 documents"):
        QBE.parts([query("q", "a"), *documents])


def test_what_is_there_is_found_and_noise_finds_nothing():
    generator = torch.Generator().manual_seed(0)
    words = {term: torch.randn(8, 16, generator=generator) for term in "abcd"}
    queries = [query(f"q{term}", term) for term in words]
    documents, spoken = [], []
    for number in range(12):
        term = "abcd"[number % 4]
        documents.append(Clip(f"d{number}", "x.wav", text=f"{term} word"))
        noise = torch.randn(40, 16, generator=generator)
        noise[10:18] = words[term]
        spoken.append(noise)
    said = list(words.values())
    (found,) = QBE.score(queries, documents, said, spoken)
    assert (found.metric, found.value) == ("mtwv", pytest.approx(1))
    lost = [torch.randn(40, 16, generator=generator) for _ in documents]
    assert QBE.score(queries, documents, said, lost)[0].value < 0.5
    short = [frames[:3] for frames in said]
    assert QBE.score(queries, documents, short, spoken)[0].value == 0
