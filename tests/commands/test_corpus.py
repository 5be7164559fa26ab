"""`aa corpus`: built from clips, pictures and puppets, resumed, checked and shown."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from animateanywhere import puppets
from animateanywhere.cli.main import main
from animateanywhere.commands import corpus as command
from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.json_file import read_table
from animateanywhere.core.messages import reporting_to
from animateanywhere.core.paths import recipes_folder
from animateanywhere.core.reporter import Events
from animateanywhere.datasets import corpus_page
from animateanywhere.datasets.corpus_check import check_corpus
from animateanywhere.datasets.shard_corpus import open_shards, write_corpus
from animateanywhere.datasets.shards import Sample, read_shard, write_shard
from animateanywhere.media import video
from animateanywhere.preprocessing.corpus import in_process, journal
from animateanywhere.preprocessing.corpus.journal import PieceJournal
from tests.conftest import once

SHARD = "shard-000000.tar"


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips with poses, masks and captions, a picture, and files that cannot be used."""

    def make(folder: Path) -> None:
        puppets.write_clips(folder, 4, frames=12, size=64, encode=video.write, seed=1)
        (folder / "contact_sheet.png").unlink()
        (folder / "clip00000.mp4").rename(folder / "ä 0.mp4")
        for suffix in (".poses.json", ".masks.npz", ".txt"):
            (folder / f"clip00000{suffix}").rename(folder / f"ä 0{suffix}")
        still = puppets.render(puppets.sample_spec(9), 1, 64)
        Image.fromarray(still.frames[0]).save(folder / "still.png")
        poses = {"format": "openpose18", "width": 64, "height": 64, "fps": 8,
                 "keypoints": still.keypoints.tolist()}  # fmt: skip
        (folder / "still.poses.json").write_text(json.dumps(poses))
        np.savez(folder / "still.masks.npz", masks=still.masks)
        (folder / "poison.mp4").write_bytes((folder / "clip00001.mp4").read_bytes()[:700])
        (folder / "words.mp4").write_text("not a video")

    return once(tmp_path_factory, "corpus_clips", make)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Path:
    def make(folder: Path) -> None:
        command.build([clips], folder / "corpus", puppets=2, recipe="tiny", license="cc0")

    return once(tmp_path_factory, "corpus_built", make) / "corpus"


def test_a_corpus_has_all_that_can_be_used_and_names_the_rest(built: Path) -> None:
    corpus = open_shards(built)
    assert corpus.about["licenses"] == {"cc0": 7}
    assert (corpus.about["clips"], corpus.about["pictures"]) == (6, 1)
    sources = [json.loads(corpus.read(n).files["meta.json"])["source"] for n in range(7)]
    assert sources == ["clip00001.mp4", "clip00002.mp4", "clip00003.mp4", "still.png", "ä 0.mp4",
                       "puppet 0", "puppet 1"]  # fmt: skip
    assert {one.source: one.reason for one in command.read_rejections(built)} == {
        "poison.mp4": "unreadable", "words.mp4": "unreadable",
    }  # fmt: skip
    assert "reference0.png" in corpus.files(5)
    assert not (built / journal.FOLDER).exists()


def test_poses_masks_and_captions_are_those_of_the_clip(built: Path, clips: Path) -> None:
    sample = open_shards(built).read(0)
    poses = json.loads(sample.files["pose.json"])
    exact = json.loads((clips / "clip00001.poses.json").read_text())
    assert np.allclose(np.array(poses["keypoints"]), exact["keypoints"], atol=0.51)
    assert sample.files["caption.txt"].decode() == (clips / "clip00001.txt").read_text()


def test_the_same_command_again_does_nothing_and_another_is_refused(
    built: Path, clips: Path
) -> None:
    before = (built / SHARD).stat().st_mtime_ns
    command.build([clips], built, puppets=2, recipe="tiny", license="cc0")
    assert (built / SHARD).stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="number of inputs"):
        command.build([clips], built, puppets=3, recipe="tiny", license="cc0")
    with pytest.raises(UsageError, match="seed"):
        command.build([clips], built, puppets=2, recipe="tiny", license="cc0", seed=1)


def test_a_finished_corpus_is_known_without_its_record(
    built: Path, clips: Path, tmp_path: Path
) -> None:
    out = tmp_path / "corpus"
    shutil.copytree(built, out)
    (out / "build.json").write_text("")
    found = command.build([clips], out, puppets=2, recipe="tiny", license="cc0")
    assert found.about == open_shards(built).about
    with pytest.raises(UsageError, match=r"settings \(seed\)"):
        command.build([clips], out, puppets=2, recipe="tiny", license="cc0", seed=1)


def test_a_stopped_build_goes_on_and_gives_the_same_bytes(
    built: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, calls = PieceJournal.add, []

    def stop(self: PieceJournal, key: str, outcome: object) -> None:
        add(self, key, outcome)  # type: ignore[arg-type]
        calls.append(key)
        if len(calls) in (2, 5):
            raise KeyboardInterrupt

    monkeypatch.setattr(PieceJournal, "add", stop)
    monkeypatch.setattr(journal, "PER_SHARD", 3)
    out = tmp_path / "out"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            command.build([clips], out, puppets=2, recipe="tiny", license="cc0")
    assert (out / SHARD).is_file()  # the first three
    command.build([clips], out, puppets=2, recipe="tiny", license="cc0")
    assert len(calls) == len(set(calls)) == 7  # nothing twice
    whole, parts = open_shards(built), open_shards(out)
    assert len(parts.shards) == 3
    assert [whole.read(n) for n in range(7)] == [parts.read(n) for n in range(7)]

    before = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".json"}
    before |= {"index": (out / "corpus.json").read_bytes()}
    parts.shards[1].unlink()
    index = parts.shards[2].with_suffix(".index.json")
    index.write_text(re.sub(r'("clip.mp4": \[\d+, \d+, )\d+', r"\g<1>7", index.read_text()))
    command.build([clips], out, puppets=2, recipe="tiny", license="cc0")
    after = {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".json"}
    assert before == after | {"index": (out / "corpus.json").read_bytes()}


def test_a_killed_build_goes_on(built: Path, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    aa = [sys.executable, "-m", "animateanywhere", "corpus", "build", str(clips), "--out", str(out),
          "--puppets", "2", "--recipe", "tiny", "--license", "cc0"]  # fmt: skip
    process = subprocess.Popen(aa, stderr=subprocess.DEVNULL)
    parts = out / journal.FOLDER / "samples"
    while process.poll() is None and not (parts.is_dir() and list(parts.iterdir())):
        pass
    process.kill()
    process.wait()
    command.build([clips], out, puppets=2, recipe="tiny", license="cc0")
    assert (out / SHARD).read_bytes() == (built / SHARD).read_bytes()


def test_damaged_pieces_of_an_unfinished_corpus_are_made_again(
    built: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples, shots and rejections, with a byte that changed in each."""
    out, add = tmp_path / "out", PieceJournal.add

    def stop(self: PieceJournal, key: str, outcome: object) -> None:
        add(self, key, outcome)  # type: ignore[arg-type]
        if len(self.done) == 4:
            raise KeyboardInterrupt

    for name in ("samples", "shots.jsonl"):
        with monkeypatch.context() as change, pytest.raises(KeyboardInterrupt):
            change.setattr(PieceJournal, "add", stop)
            command.build([clips], out, puppets=2, recipe="tiny", license="cc0")
        place = out / journal.FOLDER / name
        some = sorted(place.iterdir()) if place.is_dir() else [place]
        for path, way in zip(some, ("middle", "third", "cut"), strict=False):
            data = bytearray(path.read_bytes())
            data[{"middle": len(data) // 2, "third": len(data) // 3, "cut": 0}[way]] ^= 1
            path.write_bytes(data[:-9] if way == "cut" else data)
        events = Events()
        with reporting_to(events):
            command.build([clips], out, puppets=2, recipe="tiny", license="cc0")
        said = [str(event.get("text")) for event in events.events]
        assert sum("made again" in text for text in said) == min(len(some), 3), said
        assert (out / SHARD).read_bytes() == (built / SHARD).read_bytes()
        shutil.rmtree(out)


def test_an_item_that_ends_the_process_is_given_up(tmp_path: Path) -> None:
    mark = tmp_path / "in_work.json"
    items = [("a", 1), ("b", 2)]
    mark.write_text('{"name": "a", "attempts": 2}')
    assert dict(in_process.run(lambda: str, items, tmp_path)) == {"a": "1", "b": "2"}
    mark.write_text('{"name": "a", "attempts": 3}')
    found = dict(in_process.run(lambda: str, items, tmp_path))
    assert found == {"a": in_process.GivenUp(3), "b": "2"}
    assert not mark.exists()


def test_a_folder_in_which_nothing_could_be_used_is_taken_again(
    clips: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(Failure):
        command.build([clips / "words.mp4"], out, recipe="tiny")
    assert command.build([clips / "clip00001.mp4"], out, recipe="tiny").rejections == []


def test_a_damaged_file_beside_a_clip_sets_only_the_clip_aside(clips: Path, tmp_path: Path) -> None:
    for suffix in (".mp4", ".poses.json", ".masks.npz", ".txt"):
        shutil.copy(clips / f"clip00001{suffix}", tmp_path / f"a{suffix}")
        shutil.copy(clips / f"clip00002{suffix}", tmp_path / f"b{suffix}")
        shutil.copy(clips / f"clip00003{suffix}", tmp_path / f"c{suffix}")
    (tmp_path / "a.poses.json").write_text("{")
    (tmp_path / "b.masks.npz").write_bytes(b"PK")
    built = command.build([tmp_path], tmp_path / "out", recipe="tiny")
    assert [(one.source, one.reason) for one in built.rejections] == [
        ("a.mp4", "unreadable"), ("b.mp4", "unreadable"),
    ]  # fmt: skip
    assert "a.poses.json" in built.rejections[0].text
    assert "b.masks.npz" in built.rejections[1].text
    assert str(tmp_path) not in (tmp_path / "out" / "rejected.jsonl").read_text()


def test_file_names_can_be_other_than_utf8(clips: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "clips", tmp_path / "out"
    folder.mkdir()
    try:
        (folder / "\udce4.mp4").touch()
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    for suffix in (".mp4", ".poses.json", ".masks.npz", ".txt"):
        shutil.copy(clips / f"clip00001{suffix}", folder / f"\udcf6{suffix}")
    built = command.build([folder], out, recipe="tiny")
    assert [one.source for one in built.rejections] == ["\udce4.mp4"]
    assert command.build([folder], out, recipe="tiny").rejections == built.rejections
    assert main(["corpus", "show", str(out)]) == 0


def test_a_file_beside_a_clip_that_changed_is_another_input(clips: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "clips", tmp_path / "out"
    folder.mkdir()
    for suffix in (".mp4", ".poses.json", ".masks.npz", ".txt"):
        shutil.copy(clips / f"clip00001{suffix}", folder / f"a{suffix}")
    built = command.build([folder], out, recipe="tiny")
    assert built.about["about"]["backends"] == {"pose": "", "mask": "", "caption": ""}
    shutil.copy(clips / "clip00002.masks.npz", folder / "a.masks.npz")
    with pytest.raises(UsageError, match="inputs"):
        command.build([folder], out, recipe="tiny")
    (folder / "a.masks.npz").unlink()
    built = command.build([folder], tmp_path / "other", recipe="tiny")
    chosen = built.about["about"]["backends"]
    assert not chosen["pose"] and chosen["mask"]


def test_json_that_is_nested_too_deeply_is_damaged(tmp_path: Path) -> None:
    for name in (command.BUILD, command.REJECTED, "corpus.json"):
        (tmp_path / name).write_text("[" * 100_000)
    assert command.read_rejections(tmp_path) == []
    assert read_table(tmp_path / command.BUILD) == {}
    with pytest.raises(UsageError, match="nested too deeply"):
        open_shards(tmp_path)


def test_nothing_that_can_be_used_is_a_failure(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="1 unreadable"):
        command.build([clips / "words.mp4"], tmp_path / "out", recipe="tiny")
    with pytest.raises(UsageError, match="no video or picture"):
        command.build([], tmp_path / "out", recipe="tiny")
    with pytest.raises(UsageError, match="no such file"):
        command.build([tmp_path / "nowhere"], tmp_path / "out", recipe="tiny")


def test_a_right_corpus_is_ready(built: Path) -> None:
    report = check_corpus(built)
    assert report.verdict == "ready" and not report.findings and not report.duplicates
    assert report.statistics["readable"] == 7 and report.statistics["pictures"] == 1


def changed(built: Path, out: Path, edit: dict[str, bytes], keep: str = "") -> Path:
    """The corpus with other files in its first sample, and `keep`, a copy of one with that key."""
    corpus = open_shards(built)
    samples = [corpus.read(number) for number in range(len(corpus))]
    samples[0] = Sample(samples[0].key, {**samples[0].files, **edit})
    if keep:
        meta = json.loads(samples[1].files["meta.json"]) | {"source": "copy", "license": ""}
        samples.append(Sample(keep, {**samples[1].files, "meta.json": json.dumps(meta).encode()}))
    out.mkdir()
    write_corpus(out, [write_shard(out, 0, samples)])
    return out


def test_wrong_poses_and_captions_are_named(built: Path, tmp_path: Path) -> None:
    poses = json.loads(open_shards(built).read(0).files["pose.json"])
    poses["keypoints"][3][0] = [99.0, 2.0, 1.0]
    edits = {
        "out of the frame": {"pose.json": json.dumps(poses).encode()},
        "no caption": {"caption.txt": b"\n"},
        "cannot be read|truncated": {"clip.mp4": b"\0" * 300},
        "mask.mp4": {"mask.mp4": open_shards(built).read(5).files["clip.mp4"]},
    }
    for number, (said, edit) in enumerate(edits.items()):
        report = check_corpus(changed(built, tmp_path / str(number), edit))
        assert report.verdict == "unusable"
        (finding,) = report.findings
        assert re.search(said, finding.text) and SHARD in finding.text
        assert report.statistics["readable"] == 6


def test_near_duplicates_and_missing_licenses_are_warnings(built: Path, tmp_path: Path) -> None:
    report = check_corpus(changed(built, tmp_path / "out", {}, keep="copy"))
    assert report.verdict == "usable with warnings"
    assert report.duplicates == [[open_shards(built).key(1), "copy"]]
    assert "1 of 8 samples name no license" in report.findings[-1].text


def test_a_damaged_shard_ends_with_1(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(built, out)
    data = bytearray((out / SHARD).read_bytes())
    data[5000] ^= 1
    (out / SHARD).write_bytes(data)
    assert main(["corpus", "check", str(out), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {row["what"] for row in found["findings"]} == {"shard", "sample"}


def test_the_page_needs_nothing_else(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show = ["corpus", "show", str(built), "--out", str(tmp_path / "page")]
    assert main(show) == 0 and main(show) == 0
    text = (tmp_path / "page" / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert "puppet 1" in text and "2 set aside" in text and "unreadable" in text
    assert Image.open(tmp_path / "page" / "contact_sheet.png").size[1] > 500
    (tmp_path / "page" / "report.html").write_text("somebody else's")
    assert main(show) == 2
    assert "choose another --out" in capsys.readouterr().err  # it has no --overwrite
    assert (tmp_path / "page" / "report.html").read_text() == "somebody else's"


def test_a_histogram_of_whole_numbers_has_whole_edges() -> None:
    few = corpus_page._histogram(np.array([3, 3, 5]))
    assert [(bar.label, bar.number) for bar in few] == [("3", 2), ("4", 0), ("5", 1)]
    many = corpus_page._histogram(np.array([6, 7, 34]))
    assert (many[0].label, many[0].number, many[-1].label) == ("6 to 7", 2, "34 to 35")
    assert sum(bar.number for bar in many) == 3 and len(many) <= corpus_page.BINS


@pytest.fixture
def three(built: Path, tmp_path: Path) -> Path:
    """The corpus in three shards."""
    out, corpus = tmp_path / "three", open_shards(built)
    out.mkdir()
    groups = [[corpus.read(n) for n in numbers] for numbers in ((0, 1, 2), (3, 4), (5, 6))]
    write_corpus(out, [write_shard(out, number, some) for number, some in enumerate(groups)])
    return out


def checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    code = main(["corpus", "check", str(folder), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out or "{}"), err


def test_check_names_all_that_is_wrong_and_checks_the_rest(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And show says what is missing and shows the rest."""
    (three / "shard-000000.tar").unlink()
    index = three / "shard-000001.index.json"
    index.write_text(index.read_text().replace("cc0", "cc1", 1))
    last, place = three / "shard-000002.tar", open_shards_place(three, 2, "clip.mp4")
    data = bytearray(last.read_bytes())
    data[place] ^= 1
    last.write_bytes(data)
    shutil.copy(last, three / "copy.tar")
    code, report, _ = checked(three, capsys)
    texts = [row["text"] for row in report["findings"] if row["level"] == "unusable"]
    for name in ("shard-000000.tar", "shard-000001.index.json", "shard-000002.tar", ".clip.mp4"):
        assert any(name in text for text in texts), name
    assert any("copy.tar" in row["text"] for row in report["findings"])
    assert code == 1 and report["statistics"]["readable"] == 1
    assert main(["corpus", "show", str(three)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    page = (three / "report.html").read_text()
    for name in ("shard-000000.tar", "shard-000001.index.json", ".clip.mp4"):
        assert name in said and name in page
    assert page.count("<figure") == 1


def open_shards_place(folder: Path, number: int, file: str) -> int:
    """Where a file of the first sample of a shard lies."""
    return read_shard(folder / f"shard-{number:06d}.tar").samples[0].files[file].offset


@pytest.mark.parametrize("text", [None, "", "{}", "[" * 100_000])
def test_a_corpus_without_its_index_is_checked_and_shown(
    three: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (three / "corpus.json").unlink()
    if text is not None:
        (three / "corpus.json").write_text(text)
    code, report, _ = checked(three, capsys)
    (finding,) = report["findings"]
    assert code == 1 and "corpus.json" in finding["text"]
    assert report["statistics"]["readable"] == 7
    assert main(["corpus", "show", str(three)]) == 0
    assert "corpus.json" in capsys.readouterr().err


def test_where_nothing_can_be_shown_one_line_says_so(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for tar in three.glob("*.tar"):
        tar.unlink()
        tar.mkdir()  # in its place
    code, report, _ = checked(three, capsys)
    assert code == 1 and len(report["findings"]) == 3
    assert main(["corpus", "show", str(three)]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (three / "report.html").exists()


def test_counts_that_are_not_those_of_the_shards_are_named(
    three: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = three / "corpus.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"samples": 8, "licenses": {}}))
    code, report, _ = checked(three, capsys)
    assert code == 1 and "samples, licenses: not those of" in report["findings"][0]["text"]


def edited(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """A change of a JSON file."""

    def edit(path: Path) -> None:
        table = json.loads(path.read_text())
        change(table)
        path.write_text(json.dumps(table))

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (edited(lambda table: table["shards"].clear()), "names no shard"),
        (edited(lambda table: table.pop("licenses")), "licenses: missing"),
        (edited(lambda table: table.update(licenses=[1])), "licenses: [1]"),
        (edited(lambda table: table.update(licenses={"cc0": "many"})), "licenses must be counts"),
        (edited(lambda table: table.update(seconds="long")), "seconds: 'long'"),
        (edited(lambda table: table.update(seconds=float("inf"))), "seconds: inf"),
        (edited(lambda table: table.update(about=None)), "about: None"),
        (edited(lambda table: table.update(shards="all")), "shards: 'all'"),
        (edited(lambda table: table["shards"].append(3)), "not a table"),
        (edited(lambda table: table["shards"][1].pop("size")), "size: missing"),
        (edited(lambda table: table["shards"][1].update(name="..")), "no name of a shard"),
        (edited(lambda table: table["shards"][1].update(sha256=7)), "sha256: 7"),
        (edited(lambda table: table["shards"].append(table["shards"][0])), "twice"),
    ],
)
def test_an_index_with_wrong_types_is_one_line(
    three: Path, edit: Callable[[Path], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(three / "corpus.json")
    code, report, _ = checked(three, capsys)
    assert code == 1 and said in report["findings"][0]["text"]
    recipe = three.parent / "own.toml"
    text = (recipes_folder() / "tiny.toml").read_text()
    recipe.write_text(text.replace("images = 24", f'source = "{three}"\nimages = 24'))
    assert main(["corpus", "show", str(three)]) == 0
    assert said in " ".join(capsys.readouterr().err.split())
    assert main(["base-train", str(recipe), "--out", str(three.parent / "base")]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("meta", [{"notes": 5}, {"notes": [None]}, {"notes": {"a": 1}}])
def test_odd_notes_and_rejections_are_shown(
    built: Path, tmp_path: Path, meta: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    about = json.loads(open_shards(built).read(0).files["meta.json"])
    out = changed(built, tmp_path / "out", {"meta.json": json.dumps(about | meta).encode()})
    row = {"source": "x", "start": 0, "seconds": None, "reason": [], "text": "y"}
    (out / "rejected.jsonl").write_text(json.dumps(row) + "\n")
    code, report, _ = checked(out, capsys)
    assert code == 0 and report["statistics"]["readable"] == 7
    assert main(["corpus", "show", str(out)]) == 0


def test_a_corpus_without_samples_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path, [write_shard(tmp_path, 0, [])])
    code, report, _ = checked(tmp_path, capsys)
    assert code == 1 and "contains no sample" in report["findings"][0]["text"]
    for action in ("show", "encode"):
        assert main(["corpus", action, str(tmp_path)]) == 2
        assert "contains no sample" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "--puppets", "1"], "--out FOLDER"),
        (["build", "--puppets", "1", "--out", "x", "--workers", "2"], "--engine ray"),
        (["check"], "give the folder of one corpus"),
        (["check", "."], "no finished corpus"),
        (["show", "nowhere"], "no finished corpus"),
        (["encode"], "give the folder of one corpus"),
        (["encode", ".", "--json"], "--json does not belong to encode"),
        (["show", ".", "--base", "mini"], "--base does not belong to show"),
        (["check", ".", "--out", "x"], "--out does not belong to check"),
        (["check", ".", "--puppets", "0"], "--puppets does not belong to check"),
        (["build", "--puppets", "1", "--out", "x", "--base", "mini"], "--base does not belong"),
        (["build", "nowhere.mp4", "--out", "x"], "no such file"),
        (["build", "--puppets", "1", "--out", "x", "--recipe", "nothing"], "nothing"),
    ],
)
def test_wrong_use_is_one_line(
    place: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["corpus", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(place.iterdir())
