"""Guards how heads are trained: on made-up features whose truth is known, so that figures can be foreseen."""

import pytest
import torch

from sonorant.config import ConfigError
from sonorant.data.manifest import Clip
from sonorant.evaluate.store import FeatureStore, FeatureWriter
from sonorant.recipes.benching import learning
from sonorant.recipes.benching.features import Features
from sonorant.recipes.benching.learning import HeadConfig, Sides, learn, predict, sweep
from sonorant.task import find

KS = find("ks")
SMALL = HeadConfig(learning_rates=(1e-2,), updates=60, checks=6, patience=2, batch=16, width=0.1)


def problem(folder, *, count=160, informed=True, seed=0):
    """Clips of four classes. Layer 1 has the class's direction in its frames, layer 0 and a wider front end
    have noise."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(4, 12, generator=generator)
    clips = [
        Clip(f"c{n}", "x.wav", samples=8000, rate=16000, labels={"keyword": "abcd"[n % 4]})
        for n in range(count)
    ]
    with FeatureWriter(folder, frame_seconds=0.04, first_centre=0.02, provenance={}) as writer:
        for number, clip in enumerate(clips):
            time = 3 + number % 5
            noise = torch.randn(2, time, 12, generator=generator)
            if informed:
                noise[1] += directions[number % 4]
            writer.add(clip.id, {"frontend": torch.randn(time, 30), "layer_0": noise[0], "layer_1": noise[1]})
    features = Features([FeatureStore(folder)], {clip.id: clip.id for clip in clips})
    return features, Sides(clips[: count // 2], clips[count // 2 : 3 * count // 4], clips[3 * count // 4 :])


def accuracy(features, sides, found):
    task = KS(sides.train, features.times)
    return task.score(sides.test, predict(task, features, found.model, sides.test, 16))[0].value


@pytest.mark.parametrize("head", KS.heads)
def test_what_is_in_the_features_is_found_in_its_layer(tmp_path, head):
    features, sides = problem(tmp_path / "f")
    assert (features.layers, features.dim) == (("layer_0", "layer_1"), 12)
    task = KS(sides.train, features.times)
    found = learn(task, features, sides, head=head, seed=0, rate=1e-2, config=SMALL)
    assert accuracy(features, sides, found) > 0.9
    assert found.model.layers.weights[1] > 0.55


@pytest.mark.parametrize("head", KS.heads)
def test_features_that_tell_nothing_score_at_chance(tmp_path, head):
    features, sides = problem(tmp_path / "f", count=800, informed=False)
    task = KS(sides.train, features.times)
    found = learn(task, features, sides, head=head, seed=0, rate=1e-2, config=SMALL)
    chance, deviation = 0.25, (0.25 * 0.75 / 200) ** 0.5
    assert abs(accuracy(features, sides, found) - chance) < 3 * deviation


def test_the_best_rate_is_chosen_on_validation_and_followed_beyond_an_end(tmp_path, monkeypatch):
    features, sides = problem(tmp_path / "f")
    task = KS(sides.train, features.times)
    few = HeadConfig(learning_rates=(1e-5, 1e-4), updates=12, checks=2, batch=16, width=0.1)
    found = sweep(task, features, sides, head="mean", seed=0, config=few)
    assert found.rate > 1e-4  # neither of the two gets anywhere in twelve updates
    assert set(found.sweep) >= {1e-5, 1e-4, 1e-3}
    assert found.sweep[found.rate] == max(found.sweep.values())
    one = sweep(task, features, sides, head="mean", seed=0, config=SMALL)
    assert list(one.sweep) == [1e-2]
    assert learning._beyond(1.0, [1.0, 0.1]) == []
    assert learning._beyond(1e-7, [1e-7, 0.1]) == []


def test_a_rate_that_diverges_is_never_chosen(tmp_path):
    features, sides = problem(tmp_path / "f")
    task = KS(sides.train, features.times)

    class Brittle(KS):
        def loss(self, output, clips):
            total, count = super().loss(output, clips)
            return (total * torch.nan if output.abs().max() > 50 else total), count

    task = Brittle(sides.train, features.times)
    wide = HeadConfig(learning_rates=(1e-2, 1.0), updates=40, checks=4, batch=16, width=0.1)
    found = sweep(task, features, sides, head="mean", seed=0, config=wide)
    assert found.rate < 1.0

    class Broken(KS):
        def loss(self, output, clips):
            return output.sum() * torch.nan, len(clips)

    task = Broken(sides.train, features.times)
    with pytest.raises(ConfigError, match="KS: no learning rate"):
        sweep(task, features, sides, head="mean", seed=0, config=SMALL)


def test_a_seed_decides_and_the_global_generator_is_left_alone(tmp_path):
    features, sides = problem(tmp_path / "f")
    task = KS(sides.train, features.times)
    few = HeadConfig(learning_rates=(1e-3,), updates=6, checks=2, batch=16, width=0.1)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (
        learn(task, features, sides, head="statistics", seed=seed, rate=1e-3, config=few)
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])
    assert not torch.equal(first.model.head.project.weight, other.model.head.project.weight)
    assert (first.loss, first.value) == (again.loss, again.value)
    one, two = (next(learning._batches(sides.train, 8, seed)) for seed in (0, 1))
    assert one != two


def test_neither_memory_nor_pieces_change_what_is_learned(tmp_path, monkeypatch):
    features, sides = problem(tmp_path / "f")
    task = KS(sides.train, features.times)
    few = HeadConfig(learning_rates=(1e-3,), updates=5, checks=1, batch=16, width=0.1)
    whole = learn(task, features, sides, head="mean", seed=0, rate=1e-3, config=few)
    monkeypatch.setattr(learning, "VALUES", 2 * 12 * 7 * 3)  # three clips at a time
    monkeypatch.setattr("sonorant.recipes.benching.features.MEMORY", 2000)
    small = Features([FeatureStore(tmp_path / "f")], {clip.id: clip.id for part in
                     (sides.train, sides.validation, sides.test) for clip in part})  # fmt: skip
    pieces = learn(task, small, sides, head="mean", seed=0, rate=1e-3, config=few)
    assert 0 < sum(frames.numel() for frames in small._kept.values()) * 2 <= 2000
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(value, pieces.model.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_clips_of_one_length_share_a_piece_and_answers_keep_the_clips_order(tmp_path, monkeypatch):
    features, sides = problem(tmp_path / "f")
    assert [features.length(clip) for clip in sides.train[:5]] == [3, 4, 5, 6, 7]
    for most, memory, largest in ((16, 2**26, 16), (100, 2**26, 48), (100, 2 * 12 * 7 * 3, 7)):
        monkeypatch.setattr(learning, "VALUES", memory)
        pieces = list(learning._pieces(features, sides.train, most))
        assert sorted(place for piece in pieces for place in piece) == list(range(len(sides.train)))
        assert max(map(len, pieces)) <= largest
        for piece in pieces:
            found = [features.length(sides.train[place]) for place in piece]
            assert min(found) >= 0.8 * max(found)
            assert len(found) * max(found) * 2 * 12 <= memory
    task = KS(sides.train, features.times)
    few = HeadConfig(learning_rates=(1e-2,), updates=10, checks=1, batch=16, width=0.1)
    model = learn(task, features, sides, head="mean", seed=0, rate=1e-2, config=few).model
    together = predict(task, features, model, sides.test, 16)
    assert together == [predict(task, features, model, [clip], 1)[0] for clip in sides.test]
    assert any(each != together[0] for each in together)


def scripted(*checked):
    """A task whose checks find these accuracies and losses, whatever is learned."""

    class Scripted(KS):
        checks = 0

        def score(self, clips, predictions):
            (found,) = super().score(clips, predictions)
            self.checks += 1
            return [found.__class__(found.metric, checked[self.checks - 1][0], 0, 1, found.n, "clips")]

        def loss(self, output, clips):
            total, count = super().loss(output, clips)
            return (total if torch.is_grad_enabled() else total * 0 + checked[self.checks][1] * count), count

    return Scripted


def test_the_best_check_is_kept_not_the_last(tmp_path):
    features, sides = problem(tmp_path / "f")
    kind = scripted((0.2, 2.0), (0.9, 1.0), (0.3, 1.1), (0.3, 1.1), (0.3, 1.1))
    task = kind(sides.train, features.times)
    config = HeadConfig(learning_rates=(1e-2,), updates=50, checks=5, patience=2, batch=16, width=0.1)
    found = learn(task, features, sides, head="mean", seed=0, rate=1e-2, config=config)
    assert (found.value, found.updates, task.checks) == (0.9, 20, 4)
    short = HeadConfig(learning_rates=(1e-2,), updates=20, checks=2, batch=16, width=0.1)
    task = kind(sides.train, features.times)
    until_then = learn(task, features, sides, head="mean", seed=0, rate=1e-2, config=short)
    for name, value in until_then.model.state_dict().items():
        assert torch.equal(value, found.model.state_dict()[name]), name


def test_a_head_that_names_nothing_yet_goes_on_while_its_loss_falls(tmp_path):
    features, sides = problem(tmp_path / "f")
    task = scripted((0.3, 4.0), (0.2, 3.0), (0.2, 2.0), (0.2, 1.0), (0.8, 1.5))(sides.train, features.times)
    config = HeadConfig(learning_rates=(1e-2,), updates=50, checks=5, patience=2, batch=16, width=0.1)
    found = learn(task, features, sides, head="mean", seed=0, rate=1e-2, config=config)
    assert (found.value, found.updates, task.checks) == (0.8, 50, 5)


def test_rates_without_sense_are_refused():
    with pytest.raises(ConfigError, match="learning_rates"):
        HeadConfig(learning_rates=(10.0,))
