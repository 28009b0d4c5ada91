"""Guards what inference computes in: near single precision, refused where it cannot be had."""

import numpy as np
import pytest
import torch

from sonorant.evaluate.store import FeatureStore
from sonorant.nn.int8 import Int8Linear, has_vnni
from sonorant.recipes import precision
from sonorant.recipes.features import extract
from sonorant.recipes.settings import load_encoder

VNNI = pytest.mark.skipif(not has_vnni(), reason="the processor has no VNNI")


def frames(folder):
    store = FeatureStore(folder)
    return torch.cat(store.read("layer_1", store.ids))


@pytest.mark.parametrize(
    ("kind", "low", "high"), [("bf16", 1e-4, 0.02), pytest.param("int8", 1e-4, 0.05, marks=VNNI)]
)
def test_features_stay_near_single_precision(tmp_path, sonorant, pretrained, few, kind, low, high):
    for each in ("fp32", kind):
        done = sonorant("extract", pretrained, few, "--precision", each, "--out", tmp_path / each, "-q")
        assert done.code == 0, done
    exact, found = frames(tmp_path / "fp32"), frames(tmp_path / kind)
    assert low < (found - exact).norm() / exact.norm() < high
    assert FeatureStore(tmp_path / kind).provenance["precision"] == kind


@VNNI
def test_int8_leaves_the_encoder_as_it_is(tmp_path, pretrained, few):
    from sonorant.data.manifest import read

    encoder = load_encoder(pretrained)
    extract(encoder, read(few)[:3], tmp_path / "int8", provenance={}, precision="int8")
    assert not any(isinstance(part, Int8Linear) for part in encoder.modules())


def test_transcripts_take_a_precision(sonorant, finetuned, few):
    exact = sonorant("transcribe", finetuned, few, "--precision", "fp32")
    rough = sonorant("transcribe", finetuned, few, "--precision", "bf16")
    assert (exact.code, rough.code) == (0, 0)
    pairs = list(zip(exact.out.splitlines(), rough.out.splitlines(), strict=True))
    assert np.mean([one == other for one, other in pairs]) > 0.5


def test_a_precision_that_cannot_be_had_is_refused(monkeypatch, sonorant, finetuned, few):
    done = sonorant("transcribe", finetuned, few, "--precision", "fp8")
    assert (done.code, done.line) == (2, "sonorant: precision: 'fp8' is not one of auto, fp32, bf16, int8")
    monkeypatch.setattr(precision, "has_vnni", lambda: False)
    done = sonorant("transcribe", finetuned, few, "--precision", "int8")
    assert (done.code, done.line) == (
        2,
        "sonorant: precision: int8 needs a processor with AVX-512 VNNI (use auto)",
    )
