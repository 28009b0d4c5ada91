"""Guards HuBERT's loss against the paper's equations as loops, and its labels against plain search."""

import math
from pathlib import Path

import pytest
import torch

from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.mfcc import MFCC
from sonorant.encoders.recurrent import GRUConfig
from sonorant.nn.masking import span_mask
from sonorant.objectives.hubert import Config
from sonorant.types import Batch, Padded, pad

SPEECH = Path(__file__).parent.parent / "fixtures" / "speech" / "manifest.jsonl"


@pytest.fixture(scope="module")
def batch():
    clips = [clip for clip in read(SPEECH) if 0.9 < clip.seconds < 1.6][:3]
    return Batch(pad([torch.from_numpy(load(clip, 16000)) for clip in clips]), (1, 2, 3))


def objective(batch, **settings):
    torch.manual_seed(0)
    context = GRUConfig(dim=8, layers=3)
    encoder = build(EncoderConfig(frontend=LogMelConfig(mels=10, stack=4), context=context))
    model = Config(codes=(5, 7), final_dim=6, feature_penalty=0, **settings).build(encoder)
    model.prepare([batch])
    return model


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def nearest_label(model, mfcc, book, stack, frame):
    """The centroid nearest to the MFCC frame whose middle is nearest to the stacked frame's, in samples."""
    middle = 160 * stack * frame + (400 + 160 * (stack - 1)) / 2
    middles = [160 * i + 200 for i in range(len(mfcc))]
    place = max(range(len(mfcc)), key=lambda i: (-abs(middles[i] - middle), i))
    centroids = model.labeller.centroids.split([5, 7])[book].tolist()
    point = mfcc[place].tolist()
    distances = [sum((x - y) ** 2 for x, y in zip(point, c, strict=True)) for c in centroids]
    return distances.index(min(distances))


@pytest.mark.parametrize(("alpha", "intermediate"), [(1.0, ()), (0.5, (1,)), (0.0, (0, 1))])
def test_the_loss_is_what_the_loops_say(batch, alpha, intermediate):
    model = objective(batch, alpha=alpha, intermediate=intermediate, mask_probability=0.5, mask_length=3)
    found = model(batch)
    frames = model.encoder.frontend(batch.inputs)
    hidden = span_mask(frames.lengths, batch.generators(), probability=0.5, length=3, minimum=2)
    projected = model.encoder.project(frames).values.clone()
    projected[hidden] = model.mask_embedding
    layers = model.encoder.context(Padded(projected, frames.lengths)).layers
    mfcc = MFCC(16000)(batch.inputs)
    total, count = 0.0, 0
    for row, length in enumerate(frames.lengths.tolist()):
        for t in range(length):
            weight = alpha if hidden[row, t] else 1 - alpha
            count += weight > 0
            for number, layer in enumerate((*intermediate, 2)):
                outputs = model.project_context[number](layers[layer][row, t]).tolist()
                embeddings = model.code_embeddings[number].tolist()
                for book, first, last in ((0, 0, 5), (1, 5, 12)):
                    output = outputs[6 * book : 6 * book + 6]
                    scores = [math.exp(cosine(output, e) / 0.1) for e in embeddings[first:last]]
                    z = nearest_label(model, mfcc.values[row, : mfcc.lengths[row]], book, 4, t)
                    total -= weight * math.log(scores[z] / sum(scores))
    assert int(found.count) == count
    assert float(found.total.detach()) == pytest.approx(total, rel=1e-4)


def test_an_entry_of_the_metrics_is_what_its_name_says(batch):
    model = objective(batch)
    real = model.encoder.frontend(batch.inputs).mask
    labels = model.labeller(batch.inputs, real)
    with torch.no_grad():
        model.code_embeddings.copy_(torch.ones(6))  # every code has the same score, the first is named
    found = model(batch).metrics
    hidden = span_mask(real.sum(1), batch.generators(), probability=0.8, length=10, minimum=2)[real]
    for name, part in (("accuracy", hidden), ("accuracy_unmasked", ~hidden)):
        share = sum(float((book[part] == 0).float().mean()) for book in labels) / 2
        assert float(found[name]) == pytest.approx(share)
    assert float(found["prediction_perplexity"]) == pytest.approx(1)
    entropies = [
        -sum(p * math.log(p) for p in (float((book[hidden] == c).float().mean()) for c in book.unique()) if p)
        for book in labels
    ]
    assert float(found["label_perplexity"]) == pytest.approx(sum(map(math.exp, entropies)) / 2, rel=1e-4)
    assert float(found["masked"]) == pytest.approx(float(hidden.float().mean()))
