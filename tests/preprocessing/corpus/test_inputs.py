"""The inputs of a corpus: folders, files and manifests, whose errors name their lines."""

import os
from pathlib import Path

import pytest

from animateanywhere.core.errors import UsageError
from animateanywhere.preprocessing.corpus.inputs import read_inputs, read_manifest


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_folder_gives_its_clips_and_pictures_in_natural_order(tmp_path: Path) -> None:
    touch(tmp_path, "b10.mp4", "b2.MP4", "ä/one.jpg", "b2.masks.mp4", "b2.masks/0.png", "b2.txt",
          "b2.poses.json", ".hidden.mp4", ".git/x.png", "notes.pdf", "out/shard.png")  # fmt: skip
    (tmp_path / "b2.txt").write_text("a man\n\n a man  walks \n")
    found = read_inputs([tmp_path], "cc0", tmp_path / "out")
    assert [one.name for one in found.sources] == ["b2.MP4", "b10.mp4", "ä/one.jpg"]
    assert found.sources[0].captions == ("a man", "a man walks")
    assert {one.license for one in found.sources} == {"cc0"}
    assert found.others == ["notes.pdf"]


def test_a_file_is_taken_once_and_equal_names_get_numbers(tmp_path: Path) -> None:
    touch(tmp_path, "one/clip.mp4", "two/clip.mp4")
    found = read_inputs(
        [tmp_path / "one", tmp_path / "two", tmp_path / "one/clip.mp4"], "", tmp_path / "out"
    )
    assert [one.id for one in found.sources] == ["clip.mp4", "clip.mp4 (2)"]
    assert "1 files are given more than once" in found.notes[0]


def test_a_csv_manifest(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    path.write_text(
        '\ufeffPath,caption,license,start,end,url\na b.mp4,"a man, a dog",cc0,1.5,4,x\n\n'
        "sub/c.jpg,,,,,\n"
    )
    (one, two), unknown = read_manifest(path, "mit")
    assert (one.name, one.path, one.captions) == (
        "a b.mp4",
        tmp_path / "a b.mp4",
        ("a man, a dog",),
    )
    assert (one.license, one.start, one.end) == ("cc0", 1.5, 4.0)
    assert one.line == "clips.csv, line 2"
    assert (two.captions, two.license, two.start, two.end) == ((), "mit", 0.0, None)
    assert unknown == ["url"]


def test_a_json_manifest_has_lists_of_captions_and_references(tmp_path: Path) -> None:
    path = tmp_path / "clips.jsonl"
    path.write_text('{"path": "ü.mp4", "caption": ["a", "b"], "reference": "r.png"}\n')
    (one,), _ = read_manifest(path)
    assert one.captions == ("a", "b") and one.references == (tmp_path / "r.png",)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("m.csv", "path,start\na.mp4,-1\nb.mp4,two\n", "line 2: start .* line 3: start"),
        ("m.csv", "path,start,end\na.mp4,3,2\n", "line 2: end 2 is not after start 3"),
        ("m.csv", "path,start\na.mp4,nan\n", "line 2: start"),
        ("m.csv", "path,caption\na.mp4\n", "line 2: 1 columns"),
        ("m.csv", "file,caption\na.mp4,b\n", "line 1: no column path"),
        ("m.csv", "path\n  \n", "names no file"),
        ("m.csv", "", "names no file"),
        ("m.csv", 'path,caption\na.mp4,"b\n', "not CSV"),
        ("m.jsonl", '{"path": "a.mp4"}\n{"path"}\n', "line 2: not JSON"),
        ("m.jsonl", '{"path": ""}\n[1]\n', "line 1: no path.* line 2: not a JSON object"),
        ("m.jsonl", '{"path": "a\\u0000"}\n', "line 1: no path"),
        ("m.jsonl", '{"path": "a", "caption": 3}\n', "line 1: caption must be text"),
        ("m.jsonl", '{"path": "a", "start": true}\n', "line 1: start"),
        ("m.jsonl", "[" * 10**5, "line 1: not JSON"),
        ("m.csv", "path,Path\na.mp4,b.mp4\n", "line 1: two columns 'path'"),
        ("m.csv", "path\na.mp4\n..\n", "line 3: .. is a folder"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UsageError, match=f"{name}: .*{said}"):
        read_manifest(path)


def test_a_manifest_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.csv")
    with pytest.raises(UsageError, match="a pipe"):
        read_inputs([tmp_path / "m.csv"], "", tmp_path / "out")


def test_a_manifest_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b"path\na.mp4\n\xff\xfe.mp4\n")
    with pytest.raises(UsageError, match="line 3 is not UTF-8"):
        read_manifest(path)


def test_links_to_folders_are_followed_and_pipes_not_waited_for(tmp_path: Path) -> None:
    """Data sets are often links; one that leads back to a folder above it ends, and of two to one
    folder the first counts."""
    clips, disk = tmp_path / "clips", tmp_path / "my disk"
    for place in (clips, disk / "ä"):
        place.mkdir(parents=True)
    (disk / "ä" / "a.mp4").touch()
    (disk / "ä" / "up").symlink_to(disk)
    (clips / "linked").symlink_to(disk)
    (clips / "more").symlink_to(disk)
    os.mkfifo(disk / "ä" / "a.txt")
    (disk / "ä" / "loop.mp4").symlink_to("loop.mp4")
    found = read_inputs([clips], "", tmp_path / "out")
    assert [one.name for one in found.sources] == ["linked/ä/a.mp4", "linked/ä/loop.mp4"]
    assert found.sources[0].captions == ()
