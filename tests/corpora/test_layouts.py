"""Guards the readers of layouts: each finds its clips, their texts and stretches, and runs nothing."""

import gc
import gzip
import json
import shutil
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from sonorant import corpora
from sonorant.data.audio import AudioError, load
from sonorant.data.entries import CorpusError

SPEECH = Path(__file__).parents[1] / "fixtures/speech"
NAMES = ("ast-en-conf-hasjoin", "ast-en-time", "ast-en-disabled")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "corpus"
    path.mkdir()
    return path


def put(folder: Path, number: int, name: str) -> int:
    """One of the recordings at that place below the folder; its length in samples."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    source = SPEECH / f"{NAMES[number]}.flac"
    if path.suffix == ".flac":
        shutil.copyfile(source, path)
    else:
        soundfile.write(path, *soundfile.read(source))
    return soundfile.info(path).frames


def listing(folder: Path, layout: str, place: Path | None = None):
    """What is found when the layout is detected: texts by id, and the skipped."""
    place = place or folder
    assert corpora.detect(place) == layout
    found = corpora.read(place, out=folder / "out")
    assert all(clip.rate == 16000 and clip.samples for clip in found.clips)
    return {clip.id: clip.text for clip in found.clips}, found


def test_a_plain_folder_takes_the_text_beside_each_file(folder):
    samples = put(folder, 0, "a/x.flac")
    put(folder, 1, "b/x.wav")
    put(folder, 2, "b/x.flac")
    (folder / "a/x.txt").write_text("\ufeffis now\nin \u00e9 \n", encoding="utf8")
    (folder / "b/.hidden.wav").write_text("no audio")
    (folder / "b/broken.wav").write_text("no audio")
    texts, found = listing(folder, "folder")
    assert texts == {"a/x": "is now in \u00e9", "b/x.wav": None, "b/x.flac": None}
    assert found.clips[0].samples == samples
    assert [Path(skipped.path).name for skipped in found.skipped] == ["broken.wav"]
    assert "broken.wav" in found.skipped[0].reason


def test_metadata_with_a_header_is_like_audiofolder(folder):
    put(folder, 0, "train/a.wav")
    put(folder, 1, "train/b.wav")
    (folder / "train/metadata.csv").write_text(
        'file_name,transcription,speaker\na.wav,"Yes, now",ann\ngone.wav,lost,ann\n'
    )
    texts, found = listing(folder, "folder")
    assert texts == {"train/a": "Yes, now", "train/b": None}
    assert found.clips[0].speaker == "ann"
    assert [Path(skipped.path).name for skipped in found.skipped] == ["gone.wav"]


def test_metadata_without_a_header_is_like_ljspeech(folder):
    put(folder, 0, "wavs/LJ1.wav")
    (folder / "metadata.csv").write_text('LJ1|"Dr. 5|Doctor "five"\n')
    assert listing(folder, "folder")[0] == {"wavs/LJ1": 'Doctor "five"'}


def test_metadata_that_does_not_name_the_audio_is_an_error(folder):
    put(folder, 0, "a.wav")
    (folder / "metadata.csv").write_text("id,text\na,b\n")
    with pytest.raises(CorpusError, match=r"metadata\.csv:1: no column for the audio: id, text"):
        corpora.read(folder, out=folder)


def test_librispeech(folder):
    put(folder, 0, "dev/84/121/84-121-0000.flac")
    (folder / "dev/84/121/84-121.trans.txt").write_text("84-121-0000 GO DO\n84-121-0001 LOST\n")
    texts, found = listing(folder, "librispeech")
    assert texts == {"84-121-0000": "GO DO"}
    assert found.clips[0].speaker == "84"
    assert found.skipped[0].path == "84-121-0001"


def test_common_voice(folder):
    put(folder, 0, "clips/cv_1.mp3")
    put(folder, 1, "clips/cv_2.mp3")
    header = "client_id\tpath\tsentence\tlocale\n"
    (folder / "validated.tsv").write_text(header + 'abc\tcv_1.mp3\t"Oh, he said.\tit\n')
    (folder / "dev.tsv").write_text(header + "abd\tcv_2\tNo.\tit\n")
    texts, found = listing(folder, "common_voice")
    assert texts == {"cv_1": '"Oh, he said.'}
    assert (found.clips[0].speaker, found.clips[0].language) == ("abc", "it")
    assert listing(folder, "common_voice", folder / "dev.tsv")[0] == {"cv_2": "No."}
    (folder / "validated.tsv").unlink()
    with pytest.raises(CorpusError, match=r"validated\.tsv: there is no such file \(give one of dev\.tsv"):
        corpora.read(folder, out=folder)


def test_kaldi_with_and_without_segments(folder):
    samples = put(folder, 0, "audio/a.wav")
    (folder / "wav.scp").write_text("rec1 audio/a.wav\n")
    (folder / "text").write_text("rec1 hello there\nu1 hello\nu2\tthere\n")
    (folder / "utt2spk").write_text("u1 ann\n")
    assert listing(folder, "kaldi")[0] == {"rec1": "hello there"}
    (folder / "segments").write_text("u1 rec1 0.25 0.75\nu2 rec1 1.0 -1\nu3 rec1 0.5 900\n")
    texts, found = listing(folder, "kaldi")
    assert texts == {"u1": "hello", "u2": "there"}
    first, second = found.clips
    assert (first.start, first.samples, first.speaker) == (4000, 8000, "ann")
    assert (second.start, second.start + second.samples) == (16000, samples)
    assert "'u3' lies at 0.5 s to 900 s of a file of 1.7" in found.skipped[0].reason


def test_kaldi_commands_are_refused(folder):
    (folder / "wav.scp").write_text(f"rec1 touch {folder}/ran && cat x.wav |\n")
    with pytest.raises(CorpusError, match=r"rec1: .* is a command, which is never run"):
        corpora.read(folder, out=folder)
    assert not (folder / "ran").exists()


def test_nemo(folder):
    samples = put(folder, 0, "a.flac")
    rows = [
        {"audio_filepath": "a.flac", "duration": 1.76, "text": "whole", "speaker": 7, "extra": []},
        {"audio_filepath": str(folder / "a.flac"), "offset": 0.5, "duration": 0.25, "text": "part"},
    ]
    file = folder / "train_manifest.json"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts, found = listing(folder, "nemo")
    assert texts == {"a.flac": "whole", f"{folder}/a.flac@0.5": "part"}
    assert [(clip.start, clip.samples) for clip in found.clips] == [(0, samples), (8000, 4000)]
    assert listing(folder, "nemo", file)[0] == texts
    file.write_text('{"audio_filepath": "a.flac", "duration": "long"}\n')
    with pytest.raises(CorpusError, match=r"train_manifest\.json:1: .*duration"):
        corpora.read(folder, out=folder)


def cuts(folder):
    pytest.importorskip("lhotse")
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

    put(folder, 0, "audio/a.wav")
    recording = Recording.from_file(folder / "audio/a.wav")
    said = SupervisionSegment("s", recording.id, 0.0, 0.5, text="now", speaker="ann", language="en")
    part = MonoCut("a/part", 0.25, 0.5, 0, supervisions=[said], recording=recording)
    return CutSet.from_cuts([part])


def test_lhotse_cuts_point_at_their_files(folder):
    cut = cuts(folder)
    both = [*cut, *cut.mix(cut.modify_ids(lambda name: name + "2"))]
    both[1].id = "mixed"
    type(cut).from_cuts(both).to_file(folder / "cuts.jsonl.gz")
    texts, found = listing(folder, "lhotse")
    assert texts == {"a/part": "now"}
    clip = found.clips[0]
    assert Path(clip.path) == folder / "audio/a.wav"
    assert (clip.start, clip.samples, clip.speaker, clip.language) == (4000, 8000, "ann", "en")
    assert "a MixedCut, expected a MonoCut" in found.skipped[0].reason
    assert not (folder / "out").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Lhotse leaves tars open
@pytest.mark.parametrize("compressed", [False, True])
def test_a_lhotse_shar_is_pointed_into_or_written_out(folder, tmp_path, compressed):
    shar = tmp_path / "shar"
    shar.mkdir()
    cuts(folder).to_shar(shar, fields={"recording": "flac"})
    if compressed:
        tar = shar / "recording.000000.tar"
        tar.with_suffix(".tar.gz").write_bytes(gzip.compress(tar.read_bytes()))
        tar.unlink()
    texts, found = listing(shar, "lhotse")
    assert texts == {"a/part": "now"}
    clip = found.clips[0]
    assert Path(clip.path).parent == (shar / "out" if compressed else shar)
    assert (clip.start, clip.samples, bool(clip.size)) == (0, 8000, not compressed)
    wave, _ = soundfile.read(folder / "audio/a.wav", dtype="float32")
    assert np.array_equal(load(clip, 16000), wave[4000:12000])
    gc.collect()


def test_a_lhotse_shar_that_lacks_an_archive_is_an_error(folder, tmp_path):
    shar = tmp_path / "shar"
    shar.mkdir()
    both = [*cuts(folder), *cuts(folder).modify_ids(lambda name: name + "2")]
    type(cuts(folder)).from_cuts(both).to_shar(shar, fields={"recording": "flac"}, shard_size=1)
    (shar / "recording.000001.tar").unlink()
    with pytest.raises(CorpusError, match="2 files of cuts for 1 archives"):
        corpora.read(shar, out=shar)


def archive(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, BytesIO(content))


def test_webdataset(folder, tmp_path):
    put(folder, 0, "x/b.wav")
    speech = {number: (SPEECH / f"{name}.flac").read_bytes() for number, name in enumerate(NAMES)}
    place = tmp_path / "shards"
    (place / "dev").mkdir(parents=True)
    known = {"sentence": "Said\n so", "speaker": 7, "locale": "it"}
    first = {"a.txt": b"\xef\xbb\xbfnow\n", "a.flac": speech[0], "d/b.1.flac": speech[1]}
    archive(place / "0.tar", {**first, "d/b.json": json.dumps(known).encode(), "c.flac": b"no audio"})
    wave = (folder / "x/b.wav").read_bytes()
    long = "long" * 40 + "/e.WAV"
    archive(place / "dev/1.tar", {"a.flac": speech[2], "a.json": b"[", long: wave, "f.mp3": b""})
    texts, found = listing(place, "webdataset")
    assert texts == {"0/a": "now", "0/d/b.1": "Said so", f"dev/1/{long[:-4]}": None}
    assert (found.clips[1].speaker, found.clips[1].language) == ("7", "it")
    for clip, name in zip(found.clips, (NAMES[0], NAMES[1], NAMES[0]), strict=True):
        exact, _ = soundfile.read(SPEECH / f"{name}.flac", dtype="float32")
        assert clip.samples == len(exact)
        assert np.array_equal(load(clip, 16000), exact)
    reasons = [skipped.reason for skipped in found.skipped]
    assert ["not audio" in reasons[0], "not a JSON object" in reasons[1], len(reasons)] == [True, True, 3]
    assert listing(place, "webdataset", place / "0.tar")[1].clips[0].id == "0/a"


def test_an_archive_that_is_cut_off_gives_what_lies_before(tmp_path):
    speech = (SPEECH / f"{NAMES[0]}.flac").read_bytes()
    archive(tmp_path / "a.tar", {"a.flac": speech, "b.flac": speech})
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: len(speech) + 3000])
    (tmp_path / "b.tar").write_bytes(gzip.compress(whole))
    found = corpora.read(tmp_path, out=tmp_path)
    assert [clip.id for clip in found.clips] == ["a/a"]
    assert all(str(tmp_path) in skipped.reason for skipped in found.skipped)
    assert any("b.tar: damaged, cut off or compressed" in skipped.reason for skipped in found.skipped)
    moved = msgspec.structs.replace(found.clips[0], offset=len(whole))
    with pytest.raises(AudioError, match=r"a\.tar from byte \d+ on: truncated: 0 of \d+ bytes are there"):
        load(moved, 16000)


def test_lhotse_commands_are_skipped(folder):
    made = cuts(folder)
    for cut in made:
        cut.recording.sources[0].type = "command"
        cut.recording.sources[0].source = f"touch {folder}/ran"
    made.to_file(folder / "cuts.jsonl.gz")
    with pytest.raises(CorpusError, match="its audio is a command, which is never run"):
        corpora.read(folder, out=folder / "out")
    assert not (folder / "ran").exists()


def test_without_lhotse_the_message_names_the_extra(folder, monkeypatch):
    (folder / "cuts.jsonl.gz").touch()
    monkeypatch.setitem(sys.modules, "lhotse", None)
    with pytest.raises(CorpusError, match=r"pip install 'sonorant\[lhotse\]'"):
        corpora.read(folder, out=folder)


def test_what_fits_nothing_or_two_layouts_is_an_error(folder):
    with pytest.raises(CorpusError, match="no audio and no list of audio found"):
        corpora.detect(folder)
    with pytest.raises(CorpusError, match="there is no such file or folder"):
        corpora.detect(folder / "gone")
    (folder / "wav.scp").write_text("a a.wav\n")
    (folder / "x.trans.txt").touch()
    with pytest.raises(CorpusError, match=r"may be kaldi or librispeech \(choose one with --layout\)"):
        corpora.detect(folder)
    put(folder, 0, "a.wav")
    assert len(corpora.read(folder, out=folder, layout="kaldi").clips) == 1
    with pytest.raises(
        CorpusError, match="'queen': no such layout; there are common_voice, fluent_speech_commands, folder"
    ):
        corpora.read(folder, out=folder, layout="queen")


def test_progress_counts_files(folder):
    put(folder, 0, "a.wav")
    put(folder, 1, "b.wav")
    calls = []
    corpora.read(folder, out=folder, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]


def test_every_corpus_says_what_it_is():
    assert set(corpora.names()) == set(corpora.collections()) | set(corpora.layouts())
    assert {"queen", "asterisk", "festvox_ru"} == set(corpora.collections())
    for name in corpora.names():
        module = corpora.find(name)
        assert module.LICENCE
        assert module.__doc__
    with pytest.raises(CorpusError, match="'nothing': no such corpus; there are asterisk"):
        corpora.find("nothing")
