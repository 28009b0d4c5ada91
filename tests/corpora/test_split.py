"""Guards the low-resource split: what is held out stays unheard and unread, and no clip is in two places."""

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from sonorant.data.manifest import Clip
from sonorant.data.split import Limits, low_resource, minutes
from sonorant.data.text import normalize

steady = settings(derandomize=True, deadline=None, max_examples=60)

WORDS = ("Yes!", "yes", "No.", "Who's there?", None)


FEW = Limits(held_out=3, small=1, large=5)  # minutes that a few dozen clips can fill


@st.composite
def corpora(draw):
    """Clips of up to a minute in dialogues A to H; few texts, so that they come again."""
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from("ABCDEFGH"), st.integers(1, 60), st.sampled_from(WORDS)),
            min_size=20,
            max_size=60,
        )
    )
    return [
        Clip(
            f"game-{group}{number}",
            f"/{number}.wav",
            samples=seconds,
            rate=1,
            text=text and f"{text} {number % 13}",
            source="game",
        )
        for number, (group, seconds, text) in enumerate(rows)
    ]


def ids(clips):
    return {clip.id for clip in clips}


def group(name):
    return name[0]


@steady
@given(corpora())
def test_held_out_groups_and_texts_stay_out_of_train(clips):
    parts = low_resource(clips, group, FEW)
    held = [{group(clip.id[5:]) for clip in part} for part in (parts.test, parts.dev, parts.train)]
    assert sum(map(len, held)) == len(set().union(*held))
    texts = {normalize(clip.text or "") for clip in parts.train}
    assert all(clip.text and normalize(clip.text) not in texts for clip in parts.test + parts.dev)


@steady
@given(corpora())
def test_no_clip_gives_both_speech_and_text(clips):
    parts = low_resource(clips, group, FEW)
    assert parts.paired_10m == parts.paired_1h[: len(parts.paired_10m)]
    assert not ids(parts.paired_1h) & ids(parts.unpaired_speech)
    heard = ids(parts.paired_1h) | ids(parts.unpaired_speech)
    unheard = [clip.text for clip in parts.train if clip.id not in heard]
    assert sorted(unheard) == sorted(parts.unpaired_text)
    assert ids(parts.untranscribed) == heard <= ids(parts.train)
    assert len(parts.untranscribed) == len(heard)
    assert all(clip.text is None for clip in parts.unpaired_speech + parts.untranscribed)
    assert all(clip.text for clip in parts.paired_1h)
    transcribed = sum(clip.text is not None for clip in clips if clip.id in ids(parts.unpaired_speech))
    assert transcribed - len(parts.unpaired_text) in (0, 1)


@steady
@given(corpora())
def test_groups_go_out_in_the_order_of_their_hash_until_the_limit(clips):
    parts = low_resource(clips, group, FEW)
    members = {name: [clip for clip in clips if group(clip.id[5:]) == name] for name in "ABCDEFGH"}
    order = sorted(filter(members.get, members), key=lambda name: hashlib.sha1(name.encode()).hexdigest())
    heard, train = 0.0, []
    for name in order:
        spoken = minutes(clip for clip in members[name] if clip.text) / 3
        if heard >= 2:
            train += members[name]
        # the first group that reaches a limit fills its part; what it has too much is not carried over
        heard = min(heard + spoken, 1) if heard < 1 else heard + spoken
    assert ids(parts.train) == ids(train)


@steady
@given(corpora(), st.randoms(use_true_random=False))
def test_the_order_of_the_list_changes_nothing(clips, random):
    again = list(clips)
    random.shuffle(again)
    assert low_resource(again, group, FEW) == low_resource(clips, group, FEW)


def test_the_first_clips_by_hash_are_paired_until_the_limit():
    clips = [
        Clip(f"game-{n}", f"/{n}.wav", samples=60, rate=1, text=str(n), source="game") for n in range(90)
    ]
    parts = low_resource(clips, lambda name: "all", Limits(held_out=0))
    order = sorted(clips, key=lambda clip: hashlib.sha1(clip.id[5:].encode()).hexdigest())
    assert parts.paired_10m == order[:10]
    assert parts.paired_1h == order[:60]
    assert ids(parts.unpaired_speech) == ids(order[60:75])
    assert parts.unpaired_text == [clip.text for clip in order[75:]]
