"""Guards recognisers: fine-tuned from a run or from scratch, in a folder that keeps its vocabulary."""

import json

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from sonorant.asr.vocabulary import Vocabulary
from sonorant.data.manifest import read, write
from sonorant.recipes.recogniser import usual_layer
from sonorant.train import checkpoint
from sonorant.train.log import read_metrics


def weights(run):
    return load_file(checkpoint.latest(run) / "encoder.safetensors")


def test_a_recogniser_starts_from_the_best_checkpoint_of_a_run(finetuned, pretrained, few):
    assert [row["step"] for row in read_metrics(finetuned / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert Vocabulary.load(finetuned / "vocabulary.json") == Vocabulary.of(
        clip.text for clip in read(few) if clip.text
    )
    settings = checkpoint.read_config(checkpoint.latest(finetuned))
    assert settings["pretrained"] == str(pretrained)
    assert settings["encoder"]["context"] == {
        **checkpoint.read_config(checkpoint.latest(pretrained))["encoder"]["context"],
        "dropout": 0.1,
    }


def test_the_frozen_encoder_is_the_pretrained_one_or_a_new_one(tmp_path, sonorant, tuning, pretrained):
    frozen = [*tuning, "objective.freeze_context=9", "train.steps=2", "-q"]
    assert sonorant(*frozen, f"out={tmp_path / 'tuned'}").code == 0
    assert sonorant(*frozen, f"out={tmp_path / 'scratch'}", "from_scratch=true").code == 0
    best = checkpoint.read_state(checkpoint.latest(pretrained)).best_step
    before = load_file(pretrained / f"step_{best:07d}" / "encoder.safetensors")
    tuned, scratch = weights(tmp_path / "tuned"), weights(tmp_path / "scratch")
    assert all((tuned[name] == value).all() for name, value in before.items())
    assert any((scratch[name] != value).any() for name, value in before.items())


def test_the_head_starts_alike_with_and_without_pretraining(tmp_path, sonorant, tuning):
    still = [*tuning, "train.steps=1", "train.schedule={peak: 1.0e-9, decay: constant}", "-q"]
    heads = []
    for words in ([], ["from_scratch=true"]):
        out = tmp_path / f"run{len(heads)}"
        assert sonorant(*still, *words, f"out={out}").code == 0
        heads.append(load_file(checkpoint.latest(out) / "objective.safetensors"))
    assert all(torch.allclose(value, heads[1][name], atol=1e-6) for name, value in heads[0].items())


@pytest.mark.parametrize(
    ("context", "layer"),
    [
        ({"dim": 192, "heads": 4}, "weighted"),
        ({"dim": 768, "heads": 12}, None),
        ({"dim": 192, "bidirectional": False}, None),
    ],
)
def test_of_narrow_networks_with_attention_all_layers_are_read(context, layer, pretrained, finetuned):
    latest = checkpoint.latest
    assert usual_layer(latest(pretrained), {"context": context}) == layer
    assert usual_layer(latest(finetuned), {"context": context}) is None  # as that recogniser


def test_the_layers_that_are_read_stand_in_the_run(tmp_path, sonorant, tuning, tiny):
    context = "encoder.context={name: conformer, dim: 16, layers: 2, heads: 2}"
    run = tmp_path / "pretrained"
    method = "objective={name: mockingjay}"
    assert sonorant("pretrain", tiny, context, method, f"out={run}", "train.steps=1", "-q").code == 0
    words = [*tuning, "train.steps=1", "-q"]
    for name, start, chosen, layer in (
        ("unsaid", run, [], "weighted"),
        ("last", run, ["objective.layer=null"], None),
        ("second", tmp_path / "last", [], None),
        ("third", tmp_path / "unsaid", [], "weighted"),
    ):
        done = sonorant(*words, f"pretrained={start}", *chosen, f"out={tmp_path / name}")
        assert done.code == 0, done.err
        latest = checkpoint.latest(tmp_path / name)
        assert checkpoint.read_config(latest)["objective"]["layer"] == layer
        assert ("layers.scores" in load_file(latest / "objective.safetensors")) == (layer == "weighted")


def test_a_recogniser_goes_on_with_its_head_where_it_writes_the_same(
    tmp_path, sonorant, tuning, finetuned, few
):
    fewer = tmp_path / "fewer.jsonl"
    write(fewer, [msgspec.structs.replace(clip, text="aha") for clip in read(few)])
    still = ["train.steps=1", "train.schedule={peak: 1.0e-9, decay: constant}", f"pretrained={finetuned}"]
    head = load_file(checkpoint.latest(finetuned) / "objective.safetensors")["head.weight"]
    for name, words, same in (
        ("same", [], True),
        ("labels", [f"data.manifest={fewer}"], False),
        ("kind", ["objective.head=recurrent"], False),
        ("scratch", ["from_scratch=true"], False),
    ):
        out = tmp_path / name
        done = sonorant(*tuning, *still, *words, f"out={out}")
        assert done.code == 0, done.err
        assert ("its head's too" in done.err) == same
        found = load_file(checkpoint.latest(out) / "objective.safetensors").get("head.weight")
        alike = found is not None and found.shape == head.shape and torch.allclose(found, head, atol=1e-6)
        assert alike == same


def test_the_best_checkpoint_is_the_one_with_the_lowest_validation_loss(tmp_path, sonorant, tuning, few):
    done = sonorant(
        *tuning, f"out={tmp_path}", f"data.validation={few}", "train.checkpoint_every=2", "--json"
    )
    losses = {
        row["step"]: row["validation_loss"]
        for row in read_metrics(tmp_path / "metrics.jsonl")
        if "validation_loss" in row
    }
    assert list(losses) == [2, 4, 6]
    best = min(losses, key=lambda step: losses[step])
    assert json.loads(done.out)["best"] == str(tmp_path / f"step_{best:07d}")
    assert "40 utterances" in done.err


def test_other_transcripts_leave_a_run_as_it_was(tmp_path, sonorant, tuning, finetuned, few):
    vocabulary = (finetuned / "vocabulary.json").read_bytes()
    assert sonorant(*tuning, f"out={finetuned}", "-q").code == 0
    other = tmp_path / "other.jsonl"
    write(other, [msgspec.structs.replace(clip, text="abc") for clip in read(few)])
    done = sonorant(*tuning, f"data.manifest={other}", f"out={finetuned}", "-q")
    assert (done.code, "transcripts of other characters" in done.line) == (2, True)
    assert (finetuned / "vocabulary.json").read_bytes() == vocabulary
    steps = sonorant(*tuning, "train.steps=9", f"out={finetuned}", "-q")
    assert (steps.code, "train.steps was 6, now 9" in steps.line) == (2, True)


def test_what_cannot_be_fine_tuned_is_refused(tmp_path, sonorant, tuning, few):
    silent = tmp_path / "silent.jsonl"
    write(silent, [msgspec.structs.replace(clip, text=None) for clip in read(few)])
    for words, told in (
        ([f"data.manifest={silent}"], f"{silent}: no clip has a text"),
        (["pretrained=nowhere"], "nowhere: no checkpoint here"),
        (["objective.labels=30"], "objective.labels: follows from the transcripts"),
        (["objective.layer=7"], "objective.layer: 7 is not a layer of the context, 0 to 1"),
        (["encoder.context.dims=8"], "encoder.context.dims: unknown key"),
        (["normalisation=upper"], "normalisation: 'upper' is not one of lower_alnum, none"),
        (["data.crop_seconds=0.5"], "clips with labels are longer than 0.5 s"),
    ):
        done = sonorant(*tuning, *words, f"out={tmp_path / 'run'}", "-q")
        assert (done.code, told in done.line) == (2, True), done
