"""Guards the signs of a collapse: each spoilt method shows its own, and no healthy one shows any."""

from functools import cache
from pathlib import Path
from statistics import median

import pytest
import torch
from torch.nn import functional as F

from sonorant.config import convert
from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.encoders.build import EncoderConfig, build
from sonorant.health import same_embeddings
from sonorant.objective import Objective, objective_config
from sonorant.objectives import simsiam, vicreg
from sonorant.types import Batch, pad

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech" / "manifest.jsonl"
CONTEXTS = {
    "gru": {"name": "gru", "dim": 16, "layers": 1},
    "masked_convolutions": {"name": "masked_convolutions", "dim": 16, "layers": 2, "kernel": 9, "mask": 3},
    "transformer": {"name": "transformer", "dim": 16, "layers": 2, "heads": 2, "feedforward": 32,
                    "position_kernel": 16, "position_groups": 2},
}  # fmt: skip
NOISE, STEPS = 5.0, 300  # of the views; of training
TEACHER = {"mask_length": 3, "top_layers": 2}


def objective(name: str, context: str = "gru", normalize: str = "utterance", **settings: object) -> Objective:
    torch.manual_seed(0)
    frontend = {"name": "log_mel", "mels": 20, "stack": 2, "normalize": normalize}
    encoder = build(convert({"frontend": frontend, "context": CONTEXTS[context]}, EncoderConfig))
    model = objective_config({"name": name, **settings}).build(encoder)
    model.prepare([batch()])
    return model


@cache
def batch() -> Batch:
    clips = [clip for clip in read(SPEECH) if clip.seconds < 2][:8]
    waves = [torch.from_numpy(load(clip, 16000))[:16000] for clip in clips]
    labels = [torch.tensor([1, 2, 3]) for _ in clips]
    return Batch(pad(waves), tuple(range(len(clips))), pad(labels))


def figures(model: Objective) -> dict[str, float]:
    with torch.no_grad():
        return {name: float(value) for name, value in model(batch()).metrics.items()}


def shown(model: Objective) -> set[str]:
    """The figures that show a collapse."""
    found = figures(model)
    return {sign.metric for sign in model.signs() if sign.shown_by(found[sign.metric])}


def first_code(model: Objective) -> None:
    model.quantizer.logits.bias.data.view(model.quantizer.groups, -1)[:, 0] = 1e4


def constant(model: Objective) -> None:
    head = model.predict if isinstance(model.predict, torch.nn.Linear) else model.predict[-1]
    head.weight.data.zero_()


def silent_teacher(model: Objective) -> None:
    for layer in model.teacher.context.feedforwards():
        for weight in layer.parameters():
            weight.data.zero_()


def one_cluster(model: Objective) -> None:
    centroids = model.labeller.centroids
    centroids[1:] = centroids[1:] + 1e4


def one_codeword(model: Objective) -> None:
    model.codebooks.sums[:, 1:] += 1e4


def far_from_the_mean(model: Objective) -> None:
    model.quantizer.mean.fill_(1e4)


def same_answer(model: Objective) -> None:
    for layer in model.project_context:
        layer.weight.data.zero_()


def all_blank(model: Objective) -> None:
    model.head.bias.data[0] = 1e3


@pytest.mark.parametrize(
    ("name", "context", "settings", "spoil", "signs"),
    [
        ("wav2vec2", "gru", {"entries": 32, "final_dim": 16}, first_code, {"code_use", "same_negatives"}),
        ("vq_apc", "gru", {"entries": 32}, first_code, {"code_use", "prediction_spread"}),
        ("npc", "masked_convolutions", {"entries": 16}, first_code, {"code_use", "prediction_spread"}),
        ("best_rq", "gru", {"codes": 64}, far_from_the_mean, {"code_use"}),
        ("hubert", "gru", {"codes": [20]}, one_cluster, {"code_use"}),
        ("hubert", "gru", {"codes": [20]}, same_answer, {"prediction_perplexity"}),
        ("dinosr", "transformer", {**TEACHER, "codes": 32}, one_codeword, {"code_use"}),
        ("data2vec", "transformer", TEACHER, silent_teacher, {"target_deviation"}),
        ("data2vec", "transformer", TEACHER, constant, {"prediction_deviation"}),
        ("apc", "gru", {}, constant, {"prediction_spread"}),
        ("mockingjay", "gru", {}, constant, {"prediction_spread"}),
        ("tera", "gru", {}, constant, {"prediction_spread"}),
        ("ctc", "gru", {"labels": 9}, all_blank, {"blank_share"}),
    ],
)
def test_a_spoilt_method_shows_it_and_a_healthy_one_does_not(name, context, settings, spoil, signs):
    model = objective(name, context, **settings)
    late = {sign.metric for sign in model.signs() if sign.after > 1000}  # may show at first
    assert shown(model) <= late
    spoil(model)
    assert shown(model) >= signs
    assert shown(model) <= signs | late


def test_wav2vec2s_loss_is_zero_when_its_codebook_has_collapsed():
    model = objective("wav2vec2", entries=32, final_dim=16, diversity=0.0, feature_penalty=0.0)
    first_code(model)
    found = figures(model)
    assert found["contrastive"] == 0
    assert found["accuracy"] == 1
    assert found["code_perplexity"] == pytest.approx(2, abs=1e-4)
    told = [sign.told(found, 7) for sign in model.signs() if sign.shown_by(found[sign.metric])]
    assert told[0].startswith(
        "codebook collapse: about 2 of 64 codes in use, 100% of the negatives equal the positive since step 7"
    )


def test_best_rq_uses_fewer_codes_without_normalised_frames():
    whole, raw = (objective("best_rq", normalize=each, codes=512) for each in ("utterance", "none"))
    assert figures(raw)["code_use"] < 0.3 * figures(whole)["code_use"]
    assert shown(raw) == {"code_use"}
    assert not shown(whole)


def trained(method, name: str, monkeypatch, **settings) -> dict[str, float]:
    """The last figures, medians, of a method that embeds utterances' mean frames, with noise, by a matrix."""
    model = objective(name, **settings)
    with torch.no_grad():
        means = torch.stack([each[:length].mean(0) for each, length in frames(model)])
        means = torch.cat([means, means.roll(1, 0) + means.roll(3, 1)]) * 5
    noise = torch.Generator().manual_seed(0)

    def views(*_: object) -> list[torch.Tensor]:
        return [means + NOISE * torch.randn(means.shape, generator=noise) for _ in range(2)]

    monkeypatch.setattr(method, "two_views", views)
    monkeypatch.setattr(method, "embed", lambda encoder, view: encoder.projection(view))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-2)
    seen = []
    for _ in range(STEPS):
        loss = model(batch())
        optimizer.zero_grad()
        (loss.total / loss.count).backward()
        optimizer.step()
        seen.append({name: float(value) for name, value in loss.metrics.items()})
    return {name: median(each[name] for each in seen[-20:]) for name in seen[0]}


def frames(model: Objective):
    unnormalised = objective("apc", normalize="none").encoder.frontend(batch().inputs)
    values = unnormalised.values - unnormalised.values.mean((0, 1))
    return zip(values, unnormalised.lengths.tolist(), strict=True)


def test_simsiam_collapses_without_the_stopped_gradient_and_neither_whole_nor_vicreg(monkeypatch):
    sizes = {"dim": 32, "bottleneck": 8}
    whole = trained(simsiam, "simsiam", monkeypatch, **sizes)
    other = trained(vicreg, "vicreg", monkeypatch, dim=32)
    monkeypatch.setattr(simsiam, "negative_cosine", lambda p, z: -F.cosine_similarity(p, z, dim=1))
    cut = trained(simsiam, "simsiam", monkeypatch, **sizes)
    signs = same_embeddings("")
    assert not any(sign.shown_by(each[sign.metric]) for sign in signs for each in (whole, other))
    assert any(sign.shown_by(cut[sign.metric]) for sign in signs)
