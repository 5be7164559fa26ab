"""Shards: what any reader of WebDataset finds in them, the index, and what is refused."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.datasets.arrays import array_files
from animateanywhere.datasets.samples import check_sample
from animateanywhere.datasets.shard_corpus import open_shards, write_corpus
from animateanywhere.datasets.shards import (
    Sample,
    finished_shard,
    index_path,
    read_shard,
    shard_path,
    write_shard,
    write_shards,
)
from animateanywhere.pose.skeleton import Poses, poses_text

SIZE = (24, 32)  # width and height


def picture_sample(number: int, **meta: Any) -> Sample:
    """A picture with all its files."""
    pixels = np.full((SIZE[1], SIZE[0], 3), number, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    points = np.full((1, 18, 3), 5.0, np.float32)
    about = {"width": SIZE[0], "height": SIZE[1], "frames": 1, "fps": 0.0, "license": "cc0-1.0",
             "source": f"row {number}"}  # fmt: skip
    return Sample(f"row{number:03d}", {
        "image.png": file.getvalue(),
        "pose.json": poses_text(Poses(points, *SIZE, 8.0)).encode(),
        "caption.txt": f"a man number {number}\nsomebody\n".encode(),
        "meta.json": json.dumps(about | meta).encode(),
        "reference0.png": file.getvalue(),
    })  # fmt: skip


def write(folder: Path, count: int, per_shard: int = 3) -> None:
    groups = [range(start, min(start + per_shard, count)) for start in range(0, count, per_shard)]
    made = [lambda some=some: map(picture_sample, some) for some in groups]
    write_corpus(folder, write_shards(folder, made, {"from": "test"}))


def test_plain_webdataset_reads_the_shards(tmp_path: Path) -> None:
    write(tmp_path, 7)
    urls = sorted(str(path) for path in tmp_path.glob("shard-*.tar"))
    assert len(urls) == 3
    found = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [row["__key__"] for row in found] == [f"row{number:03d}" for number in range(7)]
    for number, row in enumerate(found):
        for name, data in picture_sample(number).files.items():
            assert row[name] == data


def test_any_sample_is_read_by_its_offset(tmp_path: Path) -> None:
    write(tmp_path, 7)
    corpus = open_shards(tmp_path)
    assert len(corpus) == 7 and corpus.sizes.tolist() == [list(SIZE)] * 7
    for number in (6, 0, 3):
        assert corpus.read(number) == picture_sample(number)
    write(tmp_path, 6)  # readers take all shards that they find
    assert not shard_path(tmp_path, 2).exists() and not index_path(shard_path(tmp_path, 2)).exists()
    assert open_shards(tmp_path).read(5) == picture_sample(5)
    only = corpus.read(5, ["caption.txt", "mask.png"])
    assert only.files == {"caption.txt": b"a man number 5\nsomebody\n"}
    about = json.loads((tmp_path / "corpus.json").read_text())
    assert (about["samples"], about["pictures"], about["clips"]) == (6, 6, 0)
    assert about["licenses"] == {"cc0-1.0": 6} and about["sizes"] == {"24x32": 6}
    assert about["aspects"] == {"3:4": 6}


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a", 4)
    write(tmp_path / "b", 4)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["corpus.json", "shard-000000.index.json", "shard-000000.tar",
                     "shard-000001.index.json", "shard-000001.tar"]  # fmt: skip
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with tarfile.open(tmp_path / "a" / "shard-000000.tar") as tar:
        assert {(file.mtime, file.uid, file.uname) for file in tar} == {(0, 0, "")}


def test_finished_shards_are_not_made_again(tmp_path: Path) -> None:
    made: list[int] = []

    def group(number: int) -> Callable[[], Iterator[Sample]]:
        def make() -> Iterator[Sample]:
            made.append(number)
            if number == stop:
                raise KeyboardInterrupt
            yield picture_sample(number)

        return make

    stop = 1
    with pytest.raises(KeyboardInterrupt):
        write_shards(tmp_path, map(group, range(3)), {"v": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "shard-000000.index.json", "shard-000000.tar"]  # fmt: skip
    stop = -1
    write_shards(tmp_path, map(group, range(3)), {"v": 1})
    assert made == [0, 1, 1, 2]
    write_shards(tmp_path, map(group, range(3)), {"v": 2})  # made from something else
    assert made[4:] == [0, 1, 2]
    index_path(shard_path(tmp_path, 1)).unlink()
    assert finished_shard(tmp_path, 1, {"v": 2}) is None


def damage(path: Path, where: int) -> None:
    data = bytearray(path.read_bytes())
    data[where] ^= 0xFF
    path.write_bytes(data)


def test_damage_is_named_with_file_and_key(tmp_path: Path) -> None:
    write(tmp_path, 2)
    path = shard_path(tmp_path, 0)
    good = path.read_bytes()
    entry = read_shard(path).samples[1]
    damage(path, entry.files["caption.txt"].offset + 3)
    corpus = open_shards(tmp_path)
    assert corpus.read(0).key == "row000"
    with pytest.raises(UsageError, match=r"shard-000000\.tar: row001\.caption\.txt: damaged"):
        corpus.read(1)
    for data, text in ((good[:-700], "truncated"), (good + b"x", "another file")):
        path.write_bytes(data)
        with pytest.raises(UsageError, match=rf"shard-000000\.tar: {text}"):
            open_shards(tmp_path)
    path.unlink()
    with pytest.raises(UsageError, match=r"shard-000000\.tar: cannot be read"):
        open_shards(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"version": 9}', "[" * 100_000, '{"version": 1, "size": Infinity}', '"\x00"'],
)
def test_a_damaged_index_is_named(tmp_path: Path, text: str) -> None:
    write(tmp_path, 2)
    index = index_path(shard_path(tmp_path, 0))
    good = index.read_text()
    index.write_text(text)
    with pytest.raises(UsageError, match=r"shard-000000\.index\.json"):
        read_shard(shard_path(tmp_path, 0))
    index.write_text(good.replace("row001", "row000"))
    with pytest.raises(UsageError, match="two samples have the key row000"):
        read_shard(shard_path(tmp_path, 0))
    with pytest.raises(UsageError, match=r"not the index that corpus\.json"):
        open_shards(tmp_path)
    index.write_text(good)
    (tmp_path / "corpus.json").write_text(text)
    with pytest.raises(UsageError, match=r"corpus\.json: not the index of a corpus"):
        open_shards(tmp_path)


def test_an_index_that_points_outside_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 1)
    index = index_path(shard_path(tmp_path, 0))
    data = json.loads(index.read_text())
    for place in ([-1, 5, 0], [10, 10**9, 0], [10, -5, 0]):
        data["samples"][0]["files"]["image.png"] = place
        index.write_text(json.dumps(data))
        with pytest.raises(UsageError, match=r"row000\.image\.png lies outside"):
            read_shard(shard_path(tmp_path, 0))


@pytest.mark.parametrize("key", ["a.b", "a/b", "", "ä", "x" * 73, "../x"])
def test_keys_that_readers_would_split_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(UsageError, match="is no key"):
        write_shard(tmp_path, 0, [Sample(key, picture_sample(0).files)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("meta", "text"),
    [
        ({"width": 0}, "width must be"), ({"frames": 1.5}, "frames must be"),
        ({"fps": float("nan")}, "fps of 1 frames"), ({"frames": 4}, "fps of 4 frames"),
        ({"height": None}, "height must be"), ({"fps": "8"}, "fps cannot be"),
        ({"license": None}, "license cannot be"),
    ],
)  # fmt: skip
def test_impossible_metas_are_refused(tmp_path: Path, meta: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=rf"shard-000000\.tar: row000\.meta\.json: {text}"):
        write_shard(tmp_path, 0, [picture_sample(0, **meta)])


def without(sample: Sample, name: str, **other: bytes) -> Sample:
    kept = {key: data for key, data in sample.files.items() if key != name}
    return Sample(sample.key, kept | {key.replace("_", "."): x for key, x in other.items()})


def test_what_a_sample_lacks_is_named() -> None:
    good = picture_sample(1)
    assert check_sample(good, "here").meta.width == SIZE[0]
    points = np.full((1, 18, 3), np.nan, np.float32)
    nan = poses_text(Poses(points, *SIZE, 8.0)).encode()
    two = poses_text(Poses(np.zeros((2, 18, 3), np.float32), *SIZE, 8.0)).encode()
    for bad, text in (
        (without(good, "image.png"), "has no frames"),
        (without(good, "", clip_mp4=b""), "has clip.mp4 and image.png"),
        (without(good, "pose.json"), r"pose\.json: missing"),
        (without(good, "pose.json", pose_json=nan), r"pose\.json: a keypoint is not a finite"),
        (without(good, "pose.json", pose_json=two), "2 poses for 1 frames"),
        (without(good, "caption.txt"), r"caption\.txt: missing"),
        (without(good, "caption.txt", caption_txt=b" \n\n"), r"caption\.txt: contains no caption"),
        (without(good, "caption.txt", caption_txt=b"\xff"), r"caption\.txt: not text"),
        (without(good, "meta.json"), r"meta\.json: missing"),
    ):
        with pytest.raises(UsageError, match=f"here: row001.*{text}"):
            check_sample(bad, "here")


def test_rows_of_an_array_are_read_alone_and_compared_with_their_checksums(tmp_path: Path) -> None:
    """Every byte of an array counts, its header too; damage to other rows does not."""
    rows, more = np.arange(24, dtype=np.float16).reshape(6, 2, 2), np.arange(6.0)[:, None]
    good = picture_sample(0)
    sample = Sample(good.key, {**good.files, **array_files({"rows.npy": rows, "more.npy": more})})
    write_corpus(tmp_path, [write_shard(tmp_path, 0, [sample])])
    corpus, names = open_shards(tmp_path), ["rows.npy", "more.npy"]
    for start, stop in ((0, 6), (2, 3), (5, 6)):
        found = corpus.rows(0, names, start, stop)
        np.testing.assert_array_equal(found[0], rows[start:stop])
        np.testing.assert_array_equal(found[1], more[start:stop])
    np.testing.assert_array_equal(np.load(io.BytesIO(corpus.read(0).files["rows.npy"])), rows)
    path = shard_path(tmp_path, 0)
    offset, size, _ = corpus.places["rows.npy"][0].tolist()
    for place in range(offset, offset + size):
        damage(path, place)
        row = max(place - (offset + size - rows.nbytes), -1) // (rows.nbytes // 6)
        with pytest.raises(UsageError, match=r"shard-000000\.tar: row000\.rows\.npy: damaged"):
            corpus.rows(0, names, max(row, 0), max(row, 0) + 1)
        if row > 0:  # the header is of all
            corpus.rows(0, names, 0, row)
        damage(path, place)
    with pytest.raises(UsageError, match="6 rows"):
        corpus.rows(0, names, 4, 7)
    damage(path, int(corpus.places["rows.crc32"][0, 0]) + 3)
    with pytest.raises(UsageError, match=r"row000\.rows\.crc32: damaged"):
        corpus.rows(0, names, 0, 1)


def test_arrays_without_checksums_are_refused(tmp_path: Path) -> None:
    good, file = picture_sample(0), io.BytesIO()
    np.save(file, np.zeros((2, 2)))
    sample = Sample(good.key, {**good.files, "rows.npy": file.getvalue()})
    write_corpus(tmp_path, [write_shard(tmp_path, 0, [sample])])
    with pytest.raises(UsageError, match=r"row000\.rows\.crc32: damaged "):
        open_shards(tmp_path).rows(0, ["rows.npy"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"size": ', '"size": 1e999, "was": '),
        ('"key": "row000"', '"key": "\\ud800"'),
        ('"key": "row000"', '"key": "../row000"'),
        ('"version": 1', '"version": "a\\nb"'),
    ],
)
def test_an_index_with_impossible_values_is_refused(old: str, new: str, tmp_path: Path) -> None:
    write(tmp_path, 2)
    index = index_path(shard_path(tmp_path, 0))
    text = index.read_text()
    assert old in text
    index.write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        read_shard(shard_path(tmp_path, 0))
    assert "\n" not in str(caught.value)


def test_an_index_with_an_impossible_checksum_is_refused(tmp_path: Path) -> None:
    write(tmp_path, 2)
    index = index_path(shard_path(tmp_path, 0))
    data = json.loads(index.read_text())
    next(iter(data["samples"][0]["files"].values()))[2] = 2**63
    index.write_text(json.dumps(data))
    with pytest.raises(UsageError, match="checksum"):
        read_shard(shard_path(tmp_path, 0))
