"""Guards DinoSR's codebooks and loss against a re-implementation in plain loops."""

import math

import torch

from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.transformer import TransformerConfig
from sonorant.nn.masking import span_mask
from sonorant.nn.online_codebooks import OnlineCodebooks
from sonorant.objectives.dinosr import Config
from sonorant.types import Batch, Padded, pad

TAU = 0.8


def nearest(frame, words):
    distances = [sum((a - b) ** 2 for a, b in zip(frame, word, strict=True)) for word in words]
    return distances.index(min(distances))


def test_codewords_follow_their_frames():
    torch.manual_seed(1)
    books = OnlineCodebooks(2, 6, 3)
    torch.testing.assert_close(books.sums.mean(1), torch.zeros(2, 3), rtol=0, atol=1e-6)
    sums, counts = books.sums.tolist(), books.counts.tolist()
    idle = 0
    for _ in range(3):
        frames = torch.randn(2, 7, 3)
        labels = books.assign(frames)
        for statistic in books.statistics():
            statistic.zero_()
        books.observe(frames, labels)
        books.update(TAU)
        for book in range(2):
            words = [[s / n for s in row] for row, n in zip(sums[book], counts[book], strict=True)]
            own = [nearest(frame, words) for frame in frames[book].tolist()]
            assert labels[book].tolist() == own
            for code in range(6):
                members = [f for f, label in zip(frames[book].tolist(), own, strict=True) if label == code]
                idle += not members
                if members:
                    counts[book][code] = TAU * counts[book][code] + (1 - TAU) * len(members)
                    for d in range(3):
                        added = sum(member[d] for member in members)
                        sums[book][code][d] = TAU * sums[book][code][d] + (1 - TAU) * added
    assert idle
    torch.testing.assert_close(books.sums, torch.tensor(sums))
    torch.testing.assert_close(books.counts, torch.tensor(counts))


@torch.no_grad()
def test_the_loss_is_the_sum_over_every_hidden_frame_and_layer():
    torch.manual_seed(2)
    context = TransformerConfig(dim=8, layers=3, heads=2, feedforward=12, positions="none", dropout=0.0)
    encoder = build(EncoderConfig(frontend=LogMelConfig(mels=6), context=context))
    objective = Config(top_layers=2, mask_length=3, codes=5).build(encoder)
    for parameter in objective.parameters():
        parameter.add_(torch.randn_like(parameter) / 5)  # the teacher is not the student
    batch = Batch(pad([torch.randn(n) for n in (4000, 1500)]), (3, 4))

    projected = encoder.projection(encoder.frontend(batch.inputs).values)
    lengths = encoder.frontend(batch.inputs).lengths
    hidden = span_mask(lengths, batch.generators(), probability=0.8, length=3)
    layers = objective.teacher.targets(Padded(projected, lengths), 2)  # held against loops with data2vec
    seen = torch.where(hidden[..., None], objective.mask_embedding, projected)
    scores = objective.predict(encoder.context(Padded(seen, lengths)).last.values).tolist()
    total, right, count = 0.0, 0, 0
    for row in range(2):
        for t in range(int(lengths[row])):
            if hidden[row, t]:
                count += 1
                for k in range(2):
                    label = nearest(layers[k].values[row, t].tolist(), objective.codebooks.sums[k].tolist())
                    own = scores[row][t][5 * k : 5 * k + 5]
                    total -= (own[label] - math.log(sum(math.exp(each) for each in own))) / 2
                    right += own[label] == max(own)

    loss = objective(batch)
    assert loss.count == count > 10
    torch.testing.assert_close(loss.total, torch.tensor(total), rtol=1e-5, atol=0)
    torch.testing.assert_close(loss.metrics["accuracy"], torch.tensor(right / count / 2))
