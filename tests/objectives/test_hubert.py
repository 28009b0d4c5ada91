"""Guards what is HuBERT's own: which label stands for a frame, a frozen teacher, what is refused."""

from pathlib import Path

import pytest
import torch

from sonorant.config import ConfigError
from sonorant.data.audio import load
from sonorant.data.manifest import read
from sonorant.encoders.build import EncoderConfig, build
from sonorant.encoders.convolutions import ConvolutionsConfig
from sonorant.encoders.log_mel import LogMelConfig
from sonorant.encoders.recurrent import GRUConfig
from sonorant.encoders.transformer import TransformerConfig
from sonorant.objective import objective_config
from sonorant.objectives.hubert import Config, Labeller
from sonorant.train import checkpoint
from sonorant.train.checkpoint import State
from sonorant.train.loop import TrainConfig, train
from sonorant.train.optim import adamw
from sonorant.types import Batch, pad

SPEECH = Path(__file__).parent.parent / "fixtures" / "speech" / "manifest.jsonl"


def speech(count=3, seed=0):
    clips = [clip for clip in read(SPEECH) if 0.9 < clip.seconds < 1.6][:count]
    waves = [torch.from_numpy(load(clip, 16000)) for clip in clips]
    return Batch(pad(waves), tuple(range(10 * seed, 10 * seed + count)))


def encoder(frontend=None, **context):
    frontend = frontend or LogMelConfig(mels=10, stack=2)
    context = GRUConfig(**{"dim": 8, "layers": 2} | context)
    return build(EncoderConfig(frontend=frontend, context=context))


def taught(seed=0, **settings):
    torch.manual_seed(seed)
    shape = TransformerConfig(
        dim=16,
        layers=2,
        heads=2,
        feedforward=16,
        position_kernel=8,
        position_groups=2,
        dropout=0.5,
        layerdrop=0.5,
    )
    teacher = build(EncoderConfig(frontend=LogMelConfig(mels=12, stack=1), context=shape))
    config = Config(**{"codes": (6,), "teacher": "an/earlier/run", "teacher_layer": 1} | settings)
    model = config.build_with(encoder(), teacher)
    model.prepare([speech()])
    return model


@pytest.mark.parametrize(
    ("frontend", "places"),
    [
        (ConvolutionsConfig(dim=4), [0, 2, 4, 6]),  # every second label, as published
        (LogMelConfig(stack=1), [0, 1, 2, 3]),
        (LogMelConfig(stack=2), [1, 3, 5, 7]),
        (LogMelConfig(stack=3), [1, 4, 7, 10]),
        (LogMelConfig(stack=4), [2, 6, 10, 14]),
    ],
)
def test_a_frame_has_the_label_in_its_middle(frontend, places):
    labeller = Labeller(encoder(frontend), None, layer=None, codes=[2])
    assert labeller.places(torch.arange(4)).tolist() == places


def test_a_coarser_teacher_names_several_frames():
    teacher = encoder(LogMelConfig(mels=10, stack=4))
    labeller = Labeller(encoder(LogMelConfig(stack=1)), teacher, layer=0, codes=[2])
    # middles of the teacher's frames lie at 1.5, 5.5, 9.5 frames
    assert labeller.places(torch.arange(9)).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2]


def test_a_click_is_named_where_it_is():
    wave = torch.zeros(16000)
    wave[8000:8160] = 0.5
    for frontend in (ConvolutionsConfig(dim=4), LogMelConfig(stack=4)):
        front = encoder(frontend)
        labeller = Labeller(front, None, layer=None, codes=[2])
        quiet, loud = labeller.features(pad([wave])).values[0, [0, 49]]
        labeller.centroids.copy_(torch.stack([quiet, loud]))
        frames = front.frontend.frames(16000)
        (labels,) = labeller(pad([wave]), torch.ones(1, frames, dtype=torch.bool))
        middles = front.frontend.window / 2 + front.frontend.stride * torch.arange(frames)
        named = middles[labels == 1]
        assert len(named) >= 1
        assert (named - 8080).abs().max() <= 200 + front.frontend.stride / 2


def test_labels_follow_the_codes_of_the_waveform_whatever_the_padding():
    model = Config(codes=(20,)).build(encoder())
    model.prepare([speech()])
    batch = speech()
    real = model.encoder.frontend(batch.inputs).mask
    whole = model.labeller(batch.inputs, real)[0].split(real.sum(1).tolist())
    for row, length in enumerate(batch.inputs.lengths.tolist()):
        alone = pad([batch.inputs.values[row, :length]])
        mask = model.encoder.frontend(alone).mask
        assert torch.equal(model.labeller(alone, mask)[0], whole[row])


def test_the_teacher_is_neither_trained_nor_disturbed_and_comes_with_the_checkpoint(tmp_path):
    config = TrainConfig(steps=4, precision="fp32")
    straight = taught()
    before = {name: value.clone() for name, value in straight.labeller.state_dict().items()}
    assert any(name.startswith("source.context") for name in before)
    assert not any(each.requires_grad for each in straight.labeller.parameters())
    optimizer = adamw(straight, config.optimizer)
    batches = [speech(seed=number) for number in range(4)]
    for step in train(straight, optimizer, iter(batches), config, total=4):
        if step.number == 2:
            state = State(step=2, total=4)
            checkpoint.save(tmp_path, state, objective=straight, optimizer=optimizer, config={})
    for name, value in straight.labeller.state_dict().items():
        assert torch.equal(before[name], value), name
    resumed = taught(seed=5, cluster_seed=9)  # another teacher, as if its run had gone on
    optimizer = adamw(resumed, config.optimizer)
    checkpoint.load(checkpoint.step_folder(tmp_path), objective=resumed, optimizer=optimizer)
    list(train(resumed, optimizer, iter(batches[2:]), config, total=4, start=2))
    for name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_the_teacher_computes_without_dropout_in_training_too():
    model = taught().train()
    wanted = model.encoder.frontend(speech().inputs).mask
    first = model.labeller(speech().inputs, wanted)[0]
    torch.manual_seed(1)
    assert torch.equal(model.labeller(speech().inputs, wanted)[0], first)
    assert len(first.unique()) > 1


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="teacher and teacher_layer go together"):
        objective_config({"name": "hubert", "teacher": "runs/hubert"})
    with pytest.raises(ConfigError, match="a layer stands twice"):
        objective_config({"name": "hubert", "intermediate": [1, 1]})
    with pytest.raises(ConfigError, match="is not loaded"):
        Config(teacher="runs/hubert", teacher_layer=0).build(encoder())
    with pytest.raises(ConfigError, match="teacher_layer: 7 is not a layer of it, 0 to 1"):
        taught(teacher_layer=7)
    with pytest.raises(ConfigError, match="codes: 5000 clusters of"):
        Config(codes=(5000,)).build(encoder()).prepare([speech()])
    with pytest.raises(ConfigError, match="codes: 4 codes, but 1 different"):
        Config(codes=(4,)).build(encoder()).prepare([Batch(pad([torch.zeros(8000)]), (1,))])
    model = Config(codes=(4,), intermediate=(2,)).build(encoder())
    with pytest.raises(ConfigError, match="intermediate: 2 is not a layer of the context, 0 to 1"):
        model(speech())
    with pytest.raises(ValueError, match="expects 8000 samples a second, the encoder 16000"):
        Labeller(encoder(), encoder(LogMelConfig(rate=8000, mels=10)), layer=0, codes=[2])
