"""Guards the tasks on real recordings: what is made of each corpus, and the page that is made of the rows."""

from pathlib import Path

import pytest

import superb
from contest import real_tasks
from sonorant.data.manifest import read
from sonorant.evaluate.rows import Row, read_rows
from sonorant.task import find

SPEECH = Path(__file__).parents[1] / "fixtures" / "speech"


@pytest.fixture
def english():
    return [clip for clip in read(SPEECH / "manifest.jsonl") if clip.language == "en"]


def tabled(folder, clips, rows):
    """The clips in a folder with a table whose rows have these last columns."""
    folder.mkdir()
    lines = ["file\tsplit\tspeaker\tseconds\tlabel\textra"]
    for clip, (name, *cells) in zip(clips, rows, strict=False):
        path = folder / f"{name}.flac"
        path.write_bytes(Path(clip.path).read_bytes())
        lines.append("\t".join([path.name, *cells]))
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_commands_are_keywords_and_speakers_of_some_rounds(tmp_path, english):
    rows = [
        (f"{word}-{who}_NO_{round_}", split, who, "1.0", word, "")
        for word in ("up", "down")
        for who, split in (("a", "train"), ("b", "val"), ("c", "test"))
        for round_ in ("01", "04")
    ]
    made = dict(real_tasks.commands(tabled(tmp_path / "in", english, rows), tmp_path / "out"))
    keywords, speakers = (list(read(made[name])) for name in ("ks", "sid"))
    assert [clip.id for clip in keywords] == [clip.id for clip in speakers]
    assert {clip.id[-2:] for clip in keywords} == {"01"}
    assert {(clip.labels["keyword"], clip.labels["split"]) for clip in keywords} == {
        (word, split) for word in ("up", "down") for split in ("train", "val", "test")
    }
    assert {clip.labels for clip in speakers} == {None}
    (parts,) = find("ks").parts(keywords)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [2, 2, 2]


def test_sentences_have_phones_texts_and_made_emotions(tmp_path, english):
    rows = [(f"s{place}", "train", f"{place % 3}", "2.0", "OH WELL", "age=6;phones=OW1 | W EH1 L")
            for place in range(6)]  # fmt: skip
    made = dict(real_tasks.sentences(tabled(tmp_path / "in", english, rows), tmp_path / "out"))
    assert list(made) == ["pr", "asr", "asv", "sd", "er"]
    for clip in read(made["pr"]):
        assert [label for label, _, _ in clip.units] == ["OW", "W", "EH", "L"]
        assert clip.units[-1][2] == pytest.approx(clip.seconds)
    assert {clip.text for clip in read(made["asr"])} == {"OH WELL"}
    moods = list(read(made["er"]))
    assert [clip.labels["emotion"] for clip in moods] == [*real_tasks.MOODS] * 2
    for clip, plain in zip(moods, read(made["asr"]), strict=True):
        speed, _ = real_tasks.MOODS[clip.labels["emotion"]]
        assert clip.seconds == pytest.approx(plain.seconds / speed, rel=1e-3)
        assert clip.speaker == plain.speaker


def test_orders_are_intents_and_the_values_of_slots_with_a_tag_a_word(tmp_path, english, monkeypatch):
    rows = [
        ("one", "-", "?", "2.0", "size=small;drink=iced coffee", ""),
        ("two", "-", "?", "2.0", "drink=tea", ""),
    ]
    made = dict(real_tasks.orders(tabled(tmp_path / "in", english, rows), tmp_path / "out"))
    one, two = read(made["ic"])
    assert find("ic").slots(one) == {"intent.size": "small", "intent.drink": "iced coffee"}
    monkeypatch.setattr(real_tasks, "VALUES", 1)
    (one,) = read(dict(real_tasks.orders(tmp_path / "in", tmp_path / "few"))["ic"])
    assert find("ic").slots(one) == {"intent.size": "small"}
    one, two = read(made["sf"])
    assert (one.text, one.labels["iob"]) == ("iced coffee small", "B-drink I-drink B-size")
    assert find("sf").takes(two)


def test_spoken_terms_are_cut_out_where_they_are_said(tmp_path, english, monkeypatch):
    pytest.importorskip("pocketsphinx")
    said = [clip for clip in english if "conference" in (clip.text or "").lower()]
    monkeypatch.setattr(real_tasks, "DOCUMENTS", 2)
    (clip, *documents) = said
    queries = real_tasks._queries([clip], documents)
    assert [query.labels for query in queries] == [{"query": "conference"}]
    assert 0.3 < queries[0].seconds < 1.2 < clip.seconds
    assert queries[0].start + queries[0].samples <= clip.start + clip.samples


def test_the_page_has_means_over_seeds_and_the_score():
    figures = (("KS, mean head", "accuracy", 0.3, 0.2), ("PR, linear head", "per", 0.7, -0.2))
    rows = [
        Row(benchmark="bench", subject=subject, task=task, metric=metric, value=value + seed / 100,
            low=value - 0.1, high=value + 0.1, n=5, seed=seed, commit="c", machine="m")
        for subject in ("log-mel", "ours")
        for task, metric, start, gain in figures
        for value in [start + gain * (subject == "ours")]
        for seed in (0, 2)
    ]  # fmt: skip
    text = superb.page(rows, "superb-day", "About.")
    assert "log-mel 0, ours 1000" in text
    assert "| KS, mean head: accuracy | 0.310 [0.300, 0.320]; 0.200 to 0.400 | 0.510" in text
    assert "| PR, linear head: PER | 0.710 [0.700, 0.720]" in text
    assert "Not measured yet: Queen PR, Queen ASR, Queen QbE, SID, ASR, ASV, SD, ER, IC, SF." in text
    assert superb.named(rows[0], superb.QUEEN).task == "Queen KS, mean head"


def test_everything_is_measured_and_kept(tmp_path, english, monkeypatch):
    rows = [
        (f"w{place}", split, who, "1.0", f"word{place % 2}", "")
        for place, (who, split) in enumerate([("a", "train"), ("b", "val"), ("c", "test")] * 4)
    ]
    folder = tabled(tmp_path / "in", english, [(f"{name}_01", *rest) for name, *rest in rows])
    file = tmp_path / "superb-day.jsonl"
    words = [
        "superb.py",
        "log-mel",
        "--commands",
        str(folder),
        "--tasks",
        "ks",
        "--updates",
        "4",
        "--seeds",
        "1",
    ]
    monkeypatch.setattr(superb, "queen", lambda folder, out: iter(()))
    monkeypatch.setattr("sys.argv", [*words, "--out", str(tmp_path / "out"), "--file", str(file)])
    superb.main()
    before = read_rows(file)
    assert [(row.subject, row.task, row.seed) for row in before] == [
        ("log-mel", f"KS, {head} head", 0) for head in ("mean", "statistics")
    ]
    assert "| KS, mean head: accuracy |" in file.with_suffix(".md").read_text()
    superb.main()
    assert read_rows(file) == before
