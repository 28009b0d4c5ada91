"""Guards the information bounds: on channels of known information they come close to it and never pass it."""

import math

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sonorant.data.manifest import Clip
from sonorant.evaluate import later
from sonorant.evaluate.information import (
    InformationConfig,
    bound,
    clustered,
    curve,
    entropy,
    label_free,
    labelled,
)
from sonorant.evaluate.linear import ProbeConfig, fit
from sonorant.evaluate.sampling import Examples, Parts, SamplingError, Sections, choose, split
from sonorant.evaluate.store import FeatureStore, FeatureWriter, section_bounds

QUICK = InformationConfig(
    codes=8, gap=0.02, frames=8000, updates=300, checks=6, batch=256, learning_rates=(3e-2,)
)


def store(path, utterances, *, frame_seconds=0.02, first_centre=0.01, **more):
    """A store of {id: {layer: frames}}."""
    with FeatureWriter(
        path, frame_seconds=frame_seconds, first_centre=first_centre, provenance={}, **more
    ) as writer:
        for name, layers in utterances.items():
            writer.add(name, layers)
    return FeatureStore(path)


def markov(states, stay, *, utterances=40, frames=200, seed=0):
    """Chains that stay in a state or jump to any, and what two neighbours share, in nats."""
    generator = torch.Generator().manual_seed(seed)
    jump = torch.rand(utterances, frames, generator=generator) >= stay
    drawn = torch.randint(states, (utterances, frames), generator=generator)
    chain = drawn.clone()
    for time in range(1, frames):
        chain[:, time] = torch.where(jump[:, time], drawn[:, time], chain[:, time - 1])
    same, other = stay + (1 - stay) / states, (1 - stay) / states
    noise = -same * math.log(same) - (states - 1) * other * math.log(other)
    return chain, math.log(states) - noise


def embedded(chain, dim=12, noise=0.02, seed=1):
    """Each state a random point, with a little noise around it."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(int(chain.max()) + 1, dim, generator=generator)
    frames = points[chain]
    return frames + noise * torch.randn(frames.shape, generator=generator)


@pytest.fixture(scope="module")
def channel(tmp_path_factory):
    """A Markov chain of 8 states as features, beside noise, a constant and its parity; its information."""
    chain, truth = markov(8, 0.7)
    good = embedded(chain)
    noise = torch.randn(good.shape, generator=torch.Generator().manual_seed(2))
    layers = {
        f"u{number}": {
            "good": good[number],
            "noise": noise[number],
            "constant": torch.full((len(good[number]), 4), 0.37),
            "parity": torch.eye(2)[chain[number] % 2],
        }
        for number in range(len(chain))
    }
    return store(tmp_path_factory.mktemp("channel") / "f", layers), truth


@pytest.fixture(scope="module")
def peeping(tmp_path_factory):
    """A function to stores of a chain, and of frames that know its next state if that is in their section."""

    def make(length, frames=205, **more):
        chain, truth = markov(4, 0.7, utterances=180, frames=frames)
        good, after = embedded(chain), embedded(chain.roll(-1, 1))
        last = torch.tensor(section_bounds(frames, length)[1:]) - 1
        after[:, last] = torch.randn(180, len(last), 12, generator=torch.Generator().manual_seed(3))
        layers = {f"u{number}": {"good": good[number], "peeping": after[number]} for number in range(180)}
        return store(tmp_path_factory.mktemp("peeping") / "f", layers, **more), truth

    return make


def test_what_frames_have_seen_of_their_targets_does_not_count_in_sections(peeping):
    quick = msgspec.structs.replace(QUICK, codes=4)
    blind, truth = peeping(10, section=10)
    assert label_free(blind, "good", quick).bound.nats == pytest.approx(truth, abs=0.1)
    score = label_free(blind, "peeping", quick, target_layer="good")
    assert score.bound.nats == pytest.approx(0, abs=0.05)
    assert score.test_frames == 36 * 19  # 20 sections of ten or eleven frames
    seeing, _ = peeping(10)
    assert label_free(seeing, "peeping", quick, target_layer="good").bound.nats > 1


def test_targets_that_overlap_a_section_do_not_count(peeping):
    quick = msgspec.structs.replace(QUICK, codes=4)
    wide, _ = peeping(10, section=10, first_centre=0.015)  # a window of 30 ms every 20 ms
    with pytest.raises(SamplingError, match="without a usable frame"):
        label_free(wide, "good", quick)
    assert label_free(wide, "good", msgspec.structs.replace(quick, gap=0.04)).test_frames == 36 * 19


def test_frames_that_have_seen_the_future_are_refused(peeping):
    seeing, _ = peeping(10, sees_future=True)
    with pytest.raises(SamplingError, match=r"have seen the audio that they would predict \(extract"):
        label_free(seeing, "good", QUICK)


def test_a_channel_that_a_linear_probe_can_read_is_read_almost_whole(channel):
    features, truth = channel
    score = label_free(features, "good", QUICK)
    assert score.bound.nats == pytest.approx(truth, rel=0.1)
    assert score.bound.low <= truth  # a lower bound may pass the truth by chance only
    assert score.bound.low < score.bound.nats < score.bound.high
    assert score.bound.bits == pytest.approx(score.bound.nats / math.log(2))
    assert score.bound.entropy == pytest.approx(math.log(8), rel=0.01)
    assert (score.gap, score.bound.labels, score.unseen) == (0.02, 8, 0)


def test_information_falls_with_the_gap_as_the_chain_forgets(channel):
    features, _ = channel
    scores = [
        label_free(features, "good", msgspec.structs.replace(QUICK, gap=gap)) for gap in (0.02, 0.06, 0.4)
    ]
    near, middle, far = (score.bound.nats for score in scores)
    stay = 0.7**3
    same, other = stay + (1 - stay) / 8, (1 - stay) / 8
    assert (
        near
        > middle
        == pytest.approx(math.log(8) + same * math.log(same) + 7 * other * math.log(other), abs=0.05)
    )
    assert far == pytest.approx(0, abs=0.05)


def test_pairs_of_different_utterances_tell_nothing(channel):
    features, _ = channel
    score = label_free(features, "good", QUICK)
    assert score.shuffled.nats == pytest.approx(0, abs=0.05)
    assert score.shuffled.low < 0.01
    assert score.shuffled.entropy == pytest.approx(score.bound.entropy, rel=0.02)


def test_a_frame_tells_its_own_cluster(channel):
    features, _ = channel
    score = label_free(features, "good", msgspec.structs.replace(QUICK, gap=0.0))
    assert score.bound.ratio == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("layer", ["noise", "constant"])
def test_frames_that_say_nothing_score_nothing(channel, layer):
    features, _ = channel
    assert label_free(features, layer, QUICK).bound.nats == pytest.approx(0, abs=0.05)
    fixed = label_free(features, layer, QUICK, target_layer="good")
    assert fixed.targets == "good"
    assert fixed.bound.nats == pytest.approx(0, abs=0.05)


def test_a_constant_has_no_entropy_and_its_ratio_is_zero(channel):
    features, _ = channel
    score = label_free(features, "constant", QUICK)
    assert (score.bound.entropy, score.bound.labels, score.bound.ratio) == (0, 1, 0)


def test_targets_of_a_fixed_space_cannot_be_made_easy_by_the_model(channel):
    features, truth = channel
    parity = label_free(features, "parity", msgspec.structs.replace(QUICK, codes=2))
    fixed = label_free(features, "parity", QUICK, target_layer="good")
    good = label_free(features, "good", QUICK, target_layer="good")
    assert parity.bound.ratio > fixed.bound.ratio  # its own space flatters it
    assert fixed.bound.nats < good.bound.nats / 2 < truth


def test_more_clusters_tell_more_until_there_are_as_many_as_states(channel):
    features, _ = channel
    scores = curve(features, "good", QUICK, codes=(1, 2, 4, 8, 16), gaps=(0.02,))
    nats = [score.bound.nats for score in scores]
    assert nats[0] == 0
    assert nats[0] < nats[1] < nats[2] < nats[3]
    assert nats[4] == pytest.approx(nats[3], abs=0.1)


def test_gaussian_frames_never_pass_the_truth(tmp_path):
    generator = torch.Generator().manual_seed(3)
    rho, frames = 0.9, torch.zeros(30, 300, 2)
    for time in range(300):
        fresh = torch.randn(30, 2, generator=generator)
        frames[:, time] = rho * frames[:, time - 1] + (1 - rho**2) ** 0.5 * fresh if time else fresh
    features = store(tmp_path / "f", {str(number): {"z": row} for number, row in enumerate(frames)})
    truth = -2 * 0.5 * math.log(1 - rho**2)
    config = msgspec.structs.replace(QUICK, updates=600)
    coarse, fine = (score.bound for score in curve(features, "z", config, codes=(4, 32), gaps=(0.02,)))
    assert coarse.nats < fine.nats
    assert 0.5 * truth < fine.nats < truth
    assert fine.low < truth


def test_the_same_seed_gives_the_same_score_and_another_order_of_calls_too(channel):
    features, _ = channel
    first = label_free(features, "good", QUICK)
    label_free(features, "noise", QUICK)
    torch.rand(1)
    again = label_free(features, "good", QUICK)
    assert (first.bound, first.shuffled) == (again.bound, again.shuffled)
    assert first.bound != label_free(features, "good", msgspec.structs.replace(QUICK, seed=1)).bound


def test_a_store_with_another_frame_rate_is_met_at_the_nearest_time(tmp_path):
    times = 0.01 + 0.02 * torch.arange(60)
    slow_times = 0.03 + 0.04 * torch.arange(29)
    fast = store(tmp_path / "fast", {"a": {"t": times[:, None]}})
    slow = store(tmp_path / "slow", {"a": {"t": slow_times[:, None]}}, frame_seconds=0.04, first_centre=0.03)
    pairs, _ = later.pairs(fast, slow, 0.2)
    frames, targets = times[pairs["a"][0]], slow_times[pairs["a"][1]]
    assert ((targets - frames - 0.2).abs() <= 0.021).all()
    assert len(frames) == 48  # the targets end at 1.15 s, and a half is rounded up
    pairs, gap = later.pairs(fast, fast, 0.05)
    frames, targets = (times[places] for places in pairs["a"])
    torch.testing.assert_close(targets - frames, torch.full_like(frames, 0.06), atol=2e-3, rtol=0)
    assert gap == 0.06


def test_labels_through_a_noisy_channel(tmp_path):
    labels, states = ("a", "e", "i", "o", "SIL"), 5
    chain, _ = markov(states, 0.5, seed=4)
    generator = torch.Generator().manual_seed(5)
    wrong = torch.rand(chain.shape, generator=generator) < 0.2
    heard = torch.where(wrong, torch.randint(states, chain.shape, generator=generator), chain)
    frames = embedded(heard)
    features = store(tmp_path / "f", {str(number): {"z": row} for number, row in enumerate(frames)})
    clips = [
        Clip(
            id=str(number),
            path="x.wav",
            units=[(labels[state], 0.02 * time, 0.02 * (time + 1)) for time, state in enumerate(row)],
        )
        for number, row in enumerate(chain.tolist())
    ]
    score = labelled(features, "z", clips, QUICK)
    same, other = 0.8 + 0.2 / states, 0.2 / states
    truth = math.log(states) + same * math.log(same) + (states - 1) * other * math.log(other)
    assert score.bound.nats == pytest.approx(truth, rel=0.1)
    assert score.bound.low <= truth
    assert score.shuffled.nats == pytest.approx(0, abs=0.03)
    assert (score.targets, score.gap, score.bound.labels) == ("units", 0, 5)


@pytest.mark.parametrize(("inputs", "error"), [(2, 0.1), (4, 0.25), (8, 0.05)])
def test_a_symmetric_channel_is_read_within_a_twentieth(inputs, error):
    """Of m inputs one comes out wrong with probability e: I = log m + (1-e) log (1-e) + e log (e / (m-1))."""
    generator = torch.Generator().manual_seed(11)

    def part(frames):
        sent = torch.randint(inputs, (frames,), generator=generator)
        wrong = torch.rand(frames, generator=generator) < error
        moved = torch.randint(1, inputs, (frames,), generator=generator)
        heard = torch.where(wrong, (sent + moved) % inputs, sent)
        told = math.log(inputs) + torch.where(
            wrong, math.log(error / (inputs - 1)), math.log(1 - error)
        )  # of each frame
        return Examples(torch.eye(inputs)[heard], sent, torch.arange(frames) // 100), told.mean().item()

    (train, _), (validation, _), (test, told) = part(6000), part(1500), part(6000)
    config = ProbeConfig(learning_rates=(1e-1,), updates=200, checks=4)
    found = bound(Sections(train, validation, test), config)
    truth = math.log(inputs) + (1 - error) * math.log(1 - error) + error * math.log(error / (inputs - 1))
    assert found.low <= truth
    assert found.nats == pytest.approx(told, rel=0.05)
    assert found.nats <= told + 0.005  # but for the corrections of the entropy


def test_a_test_label_that_training_lacks_is_counted_and_stays_finite(tmp_path):
    frames = torch.randn(20, 30, 4, generator=torch.Generator().manual_seed(6))
    features = store(tmp_path / "f", {str(number): {"z": row} for number, row in enumerate(frames)})
    clips = [
        Clip(id=str(number), path="x.wav", units=[("new" if number == 19 else "old", 0.0, 0.3)])
        for number in range(20)
    ]
    names = tuple(str(number) for number in range(20))
    parts = Parts(train=names[:12], validation=names[12:15], test=names[15:])
    score = labelled(features, "z", clips, QUICK, parts=parts)
    assert score.unseen == 15
    assert score.bound.labels == 2  # old and SIL
    assert math.isfinite(score.bound.nats)
    assert score.bound.nats < 0


def gaussian_pairs(pairs, dim, rho, seed):
    """Targets that follow the first two of the frames' dimensions, and what both share, in nats."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randn(pairs, dim, generator=generator)
    noise = torch.randn(pairs, 2, generator=generator)
    targets = rho * frames[:, :2] + (1 - rho**2) ** 0.5 * noise
    return later.Later(frames, targets, torch.arange(pairs) // 100)


def test_a_probe_that_knows_where_clusters_lie_needs_fewer_pairs():
    truth = -math.log(1 - 0.8**2)
    parts = [gaussian_pairs(count, 60, 0.8, seed) for seed, count in enumerate((2500, 400, 2500))]
    config = InformationConfig(codes=60)
    knowing = clustered(parts, config)
    found = bound(knowing, config)
    free = bound(Sections(knowing.train, knowing.validation, knowing.test), config)
    assert 0.7 * truth < found.low < found.high <= truth
    assert free.nats < found.nats - 0.2
    assert bound(knowing.shuffled(torch.Generator().manual_seed(0)), config).nats < 0.05


def test_classes_in_places_of_their_own_are_read_as_if_they_had_none():
    sections = random_sections(4, 3, 60, 0)
    config = ProbeConfig(learning_rates=(1e-2,), updates=20, checks=4)
    placed = fit(sections.train, sections.validation, classes=4, config=config, places=torch.eye(4))
    free = fit(sections.train, sections.validation, classes=4, config=config)
    for mine, theirs in zip(placed.parameters, free.parameters, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_class_is_read_by_where_it_lies_alone():
    sections = random_sections(4, 3, 60, 0)
    places = torch.tensor([[1.0, 0], [1, 0], [0, 1], [-1, 2]])  # the first two at one place
    config = ProbeConfig(learning_rates=(1e-2,), updates=20, checks=4, patience=4)
    found = fit(sections.train, sections.train, classes=4, config=config, places=places)
    weight, _ = found.parameters
    torch.testing.assert_close(weight[:, 0], weight[:, 1])
    torch.testing.assert_close(weight[:, 3], 2 * weight[:, 2] - weight[:, 0])
    assert weight.abs().max() > 0


def random_sections(classes, dim, frames, seed):
    """Many dimensions, random labels: whatever is learnt from them is learnt by heart."""
    generator = torch.Generator().manual_seed(seed)
    return Sections(
        *(
            Examples(
                torch.randn(count, dim, generator=generator),
                torch.randint(classes, (count,), generator=generator),
                torch.arange(count) // 20,
            )
            for count in (frames, frames, frames)
        )
    )


def test_what_is_learnt_by_heart_does_not_count():
    config = ProbeConfig(learning_rates=(3e-2,), updates=200, patience=24)
    result = bound(random_sections(6, 300, 400, 7), config)
    assert result.nats == pytest.approx(0, abs=0.03)


def test_a_probe_that_was_not_stopped_pays_for_what_it_learnt_by_heart():
    sections = random_sections(6, 300, 400, 7)
    config = ProbeConfig(learning_rates=(3e-2,), updates=200, patience=24)
    assert bound(Sections(sections.train, sections.train, sections.test), config).nats < -1


def test_frames_of_one_utterance_do_not_make_the_interval_smaller():
    sections = random_sections(3, 3, 400, 10)
    test = sections.test
    copied = Examples(
        test.frames.repeat_interleave(25, 0), test.labels.repeat_interleave(25), torch.arange(10_000) // 500
    )
    config = ProbeConfig(learning_rates=(1e-3,), updates=50, checks=5)
    one, many = (
        bound(Sections(sections.train, sections.validation, part), config) for part in (test, copied)
    )
    assert many.high - many.low == pytest.approx(one.high - one.low, rel=0.02)


def test_entropy_and_cross_entropy_are_of_the_same_labels():
    sections = random_sections(6, 3, 400, 8)
    skewed = Examples(sections.test.frames, sections.test.labels.clamp(max=1), sections.test.utterances)
    result = bound(
        Sections(sections.train, sections.validation, skewed),
        ProbeConfig(learning_rates=(1e-3,), updates=50, checks=5),
    )
    counts = torch.bincount(skewed.labels).double()
    assert result.plugin_entropy == pytest.approx(float(entropy(counts, correct=False)))
    assert result.nats == pytest.approx(result.entropy - result.cross_entropy)
    assert result.nats < -0.5  # such labels are rare in training: a surprise, and no information


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=12))
def test_the_corrected_entropy_adds_what_the_plug_in_lacks(counts):
    numbers = torch.tensor(counts, dtype=torch.float64)
    shares = [count / sum(counts) for count in counts]
    plugin = -sum(share * math.log(share) for share in shares)
    assert float(entropy(numbers, correct=False)) == pytest.approx(plugin)
    assert float(entropy(numbers)) == pytest.approx(plugin + (len(counts) - 1) / (2 * sum(counts)))


def test_the_correction_takes_most_of_the_bias_away():
    draws = torch.randint(50, (400, 300), generator=torch.Generator().manual_seed(9))
    counts = torch.zeros(400, 50, dtype=torch.float64).scatter_add_(1, draws, torch.ones(400, 300).double())
    plugin, corrected = entropy(counts, correct=False).mean().item(), entropy(counts).mean().item()
    assert math.log(50) - plugin > 0.07
    assert abs(math.log(50) - corrected) < 0.01


def test_the_interval_covers_the_estimate_of_other_utterances():
    inside = 0
    for seed in range(12):
        chain, truth = markov(4, 0.6, utterances=60, frames=60, seed=seed)
        frames = torch.eye(4)[chain]
        examples = [
            Examples(
                frames[part, :-1].flatten(0, 1),
                chain[part, 1:].flatten(),
                torch.arange(len(chain[part])).repeat_interleave(59),
            )
            for part in (slice(0, 30), slice(30, 40), slice(40, 60))
        ]
        result = bound(Sections(*examples), ProbeConfig(learning_rates=(3e-2,), updates=150, checks=5))
        inside += result.low <= truth <= result.high
        assert 0.02 < result.high - result.low < 0.3
    assert inside >= 9


def test_the_split_keeps_speakers_apart_and_does_not_depend_on_order():
    ids = tuple(f"u{number}" for number in range(60))
    speakers = {name: f"s{number % 10}" for number, name in enumerate(ids)}
    parts = split(ids, groups=speakers)
    groups = [{speakers[name] for name in part} for part in (parts.train, parts.validation, parts.test)]
    assert sum(len(group) for group in groups) == 10
    assert (len(parts.validation), len(parts.test)) == (6, 12)
    assert {name for part in (parts.train, parts.validation, parts.test) for name in part} == set(ids)
    again = split(ids[::-1], groups=speakers)
    assert {*again.test} == {*parts.test}


def test_too_little_to_measure_is_an_error(channel, tmp_path):
    features, _ = channel
    with pytest.raises(SamplingError, match="5 utterances of 5 groups"):
        split(tuple("abcde"))
    with pytest.raises(SamplingError, match="a: stands in two parts"):
        Parts(train=("a", "b"), validation=("c",), test=("a",))
    with pytest.raises(SamplingError, match="without a usable frame"):
        label_free(features, "good", msgspec.structs.replace(QUICK, gap=9.0))
    with pytest.raises(SamplingError, match="nobody: no features"):
        label_free(features, "good", QUICK, parts=Parts(("nobody",), ("u1", "u2"), ("u3", "u4")))
    other = store(tmp_path / "f", {"elsewhere": {"z": torch.ones(5, 2)}})
    with pytest.raises(SamplingError, match="u0: not in"):
        label_free(features, "good", QUICK, targets=other, target_layer="z")


def test_shuffled_labels_come_from_other_utterances_and_frames_are_drawn_alike():
    owners = torch.arange(7).repeat_interleave(torch.tensor([3, 1, 40, 2, 9, 9, 1]))
    examples = Examples(torch.zeros(65, 1), owners, owners)
    shuffled = examples.shuffled(torch.Generator().manual_seed(0))
    assert (shuffled.labels != owners).all()
    chosen = choose([5, 0, 8], 6, seed=3)
    assert sum(len(indices) for indices in chosen) == 6
    assert [indices.tolist() for indices in chosen] == [
        indices.tolist() for indices in choose([5, 0, 8], 6, seed=3)
    ]
