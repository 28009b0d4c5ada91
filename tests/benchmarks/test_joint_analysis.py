"""Guards what is looked into after joint training: layers, confidences, and a page of what there is."""

from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest

import cjt
from contest import joint, joint_analysis
from contest.figures import shown
from contest.joint import AUROC, CJT, EXPERIMENT, PLUS, REFERENCE, SEED, SPEECH_ONLY, Setup
from contest.joint_analysis import RIGHT, RUNS, WRONG, confidence_rows, layer_rows, sure
from sonorant.config import builtins, convert, load
from sonorant.data.manifest import Clip, read, write
from sonorant.data.text import normalize
from sonorant.evaluate.confidence import correct
from sonorant.evaluate.rows import read_rows
from sonorant.evaluate.store import FeatureStore
from sonorant.recipes.comparing import CONTROL
from sonorant.recipes.features import extract
from sonorant.recipes.finetune import finetune
from sonorant.recipes.labelling import label, summary
from sonorant.recipes.pretrain import pretrain
from sonorant.recipes.recognise import load_recogniser
from sonorant.recipes.settings import PretrainConfig, differences, load_encoder
from sonorant.recipes.shipped import shipped


@pytest.fixture
def setup(small, tmp_path, monkeypatch):
    """A corpus whose other speech has texts in `all.jsonl` alone, and an encoder that has hardly learned."""
    monkeypatch.setattr(joint, "updates", lambda file, config, minutes: 2)
    clips = list(read(small / "all.jsonl"))
    write(small / "paired-10m.jsonl", clips[::4])
    hidden = [msgspec.structs.replace(clip, text=None) for clip in clips[1::4]]
    write(small / "unpaired-speech.jsonl", hidden)
    write(small / "test.jsonl", clips[2::4])
    words = [f"data.manifest={small / 'paired-10m.jsonl'}", f"out={tmp_path / 'pretrained'}"]
    words += ["train.minutes=null", "train.steps=2", "objective={name: apc, shift: 1}"]
    pretrain(convert(load(shipped("demo_pretrain"), words), PretrainConfig), quiet=True)
    where = (tmp_path / "pretrained", small, "10m", tmp_path / "root")
    return Setup(*where, minutes=1.0, config="demo_finetune")


def train(setup, variant, **changes):
    """A variant's last network, trained by itself; new weights, so that it is unlike the reference."""
    folder = setup.folder(variant, 0)
    out = folder / RUNS[variant]
    base = msgspec.structs.replace(joint._tuning(setup, 0), out=str(out), from_scratch=True, **changes)
    finetune(base, quiet=True)
    if not (folder / "speech.jsonl").exists():
        write(folder / "speech.jsonl", read(joint._referenced(setup)))
    return out


def figures(rows, variant):
    return {row.metric: row for row in rows if row.subject == EXPERIMENT.subject(variant)}


def test_the_reference_learns_from_the_real_texts_and_is_like_the_others_in_all_else(setup):
    config = joint.told_config(setup, REFERENCE, 3)
    seed = joint.joint_config(setup, SEED, 3).finetune
    told = [each.partition(" was ")[0] for each in differences(builtins(seed), builtins(config))]
    assert sorted(told) == ["data.manifest", "out", "pretrained"]
    assert config.pretrained == str(setup.folder(SEED, 3) / "seed")
    texts = {clip.id: clip.text for clip in read(setup.corpus / "all.jsonl")}
    learned = {clip.id: clip.text for clip in read(Path(config.data.manifest))}
    both = [*read(setup.corpus / "paired-10m.jsonl"), *read(setup.corpus / "unpaired-speech.jsonl")]
    paired = read(setup.corpus / "paired-10m.jsonl")
    known = set(normalize(" ".join(clip.text for clip in paired)))
    spelled = [clip for clip in both if texts[clip.id] and known >= set(normalize(texts[clip.id]))]
    assert learned == {clip.id: texts[clip.id] for clip in spelled}
    assert len(spelled) > len(paired)


def test_layers_are_compared_with_the_same_ones_of_the_reference_on_the_test_part(setup, tmp_path):
    train(setup, SEED)  # from which the reference goes on
    run = train(setup, SPEECH_ONLY, seed=5)
    assert layer_rows(setup, SPEECH_ONLY, 0) == []
    reference = joint._trained(setup, REFERENCE, 0)
    found = figures(layer_rows(setup, SPEECH_ONLY, 0), SPEECH_ONLY)
    stores = []
    for name, network in (("reference", reference), ("other", run)):
        encoder = load_encoder(joint.best_checkpoint(network))
        extract(encoder, read(setup.corpus / "test.jsonl"), tmp_path / name, provenance={})
        stores.append(FeatureStore(tmp_path / name))
    layers = [layer for layer in stores[0].layers if layer != "frontend"]
    assert len(layers) > 1
    assert set(found) == {f"PWCCA {layer}{end}" for layer in layers for end in ("", f", {CONTROL}")}
    for layer in layers:
        row = found[f"PWCCA {layer}"]
        x, y = (np.concatenate([each.numpy() for each in s.read(layer, list(s.lengths))]) for s in stores)
        assert row.value == pytest.approx(pwcca(x.astype("d"), y.astype("d")), abs=1e-4)
        assert abs(row.value - pwcca(y.astype("d"), x.astype("d"))) > 1e-4  # the sides can be told apart
        assert row.low < row.value < row.high
        assert found[f"PWCCA {layer}, {CONTROL}"].value < row.low
        assert row.n == len(read(setup.corpus / "test.jsonl"))
    assert not [path for path in setup.root.iterdir() if path.name.startswith("tmp")]


def pwcca(x, y):
    """Morcos et al., 2018, by QR and singular values."""
    x, y = x - x.mean(0), y - y.mean(0)
    own, other = np.linalg.qr(x)[0], np.linalg.qr(y)[0]
    left, correlations, _ = np.linalg.svd(own.T @ other, full_matrices=False)
    weights = np.abs((own @ left).T @ x).sum(1)
    return weights @ correlations / weights.sum()


def test_right_and_wrong_characters_are_counted_by_their_confidences(setup):
    folder = setup.folder(CJT, 0)
    train(setup, SEED)
    speech = list(read(setup.corpus / "unpaired-speech.jsonl"))[:3]
    texts = ("Ab, c", "ab", None)
    write(folder / "speech.jsonl", [replaced(*each) for each in zip(speech, texts, strict=True)])
    labels = [("ab", [0.95, 1.0]), ("cb", [0.05, 0.31]), ("aa", [0.5, 0.5])]  # of the last nothing is known
    written = [replaced(clip, text, sure) for clip, (text, sure) in zip(speech, labels, strict=True)]
    write(folder / "pseudo.jsonl", written)
    found = figures(confidence_rows(setup, SEED, 0), SEED)
    counts = {name: row.value for name, row in found.items() if row.value and name != AUROC}
    assert counts == {sure(RIGHT, 9): 2, sure(RIGHT, 3): 1, sure(WRONG, 0): 1}
    assert found[AUROC].value == 1.0
    assert confidence_rows(setup, CJT, 0) == confidence_rows(setup, SPEECH_ONLY, 0) == []


def replaced(clip: Clip, text, confidence=None):
    return msgspec.structs.replace(clip, text=text, confidence=confidence)


def test_labels_after_joint_training_are_those_of_round_2_and_the_control_writes_its_own(setup):
    run = train(setup, SPEECH_ONLY)
    own = label(read(run.parent / "speech.jsonl"), load_recogniser(run))
    control = figures(confidence_rows(setup, SPEECH_ONLY, 0), SPEECH_ONLY)
    worth = summary(own)
    assert (control[AUROC].value, control[AUROC].low) == (worth["AUROC"], worth["AUROC low"])
    right = Counter()
    for clip in own.clips:
        right.update(correct(own.references[clip.id], clip.text or ""))
    for kind, is_right in ((RIGHT, True), (WRONG, False)):
        assert sum(control[sure(kind, place)].value for place in range(10)) == right[is_right] > 0
    second = setup.folder(PLUS, 0)
    second.mkdir()
    for name in ("seed", "speech.jsonl"):
        (second / name).symlink_to(run if name == "seed" else run.parent / name)
    write(second / "pseudo_2.jsonl", own.kept)
    after = figures(confidence_rows(setup, CJT, 0), CJT)
    assert {name: row.value for name, row in after.items()} == {n: r.value for n, r in control.items()}


def test_a_page_has_what_there_is_and_nothing_is_done_twice(setup, monkeypatch):
    file = setup.root / "cjt-10m-day.jsonl"
    train(setup, SPEECH_ONLY)
    assert cjt.run(setup, [], [0], file) == 0
    text = file.with_suffix(".md").read_text()
    assert "![layers and confidences](cjt-10m-day.png)" in text
    assert "PWCCA |" not in text
    train(setup, SEED, seed=5)
    joint._trained(setup, REFERENCE, 0)
    assert cjt.run(setup, [], [0], file) == 0
    text, rows = file.with_suffix(".md").read_text(), read_rows(file)
    seed, found = figures(rows, SEED), figures(rows, SPEECH_ONLY)
    layers = [name for name in found if name.startswith("PWCCA") and CONTROL not in name]
    for name, sources, end in ((SPEECH_ONLY, [found], ""), (CONTROL, [seed, found], f", {CONTROL}")):
        floors = [[each[f"{layer}{end}"].value for each in sources] for layer in layers]
        assert f"| {name} | {' | '.join(shown(each, '{:.3f}') for each in floors)} |" in text
    assert f"| {CJT} | 0." not in text
    assert f"| {SPEECH_ONLY} |  |  |  |  |  |  | {found[AUROC].value:.3f} |" in text
    assert file.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(joint_analysis, "extract", None)
    monkeypatch.setattr(joint_analysis, "label", None)
    assert cjt.run(setup, [], [0], file) == 0
    assert sorted(read_rows(file), key=str) == sorted(rows, key=str)
