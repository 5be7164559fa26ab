"""Shards: samples of a corpus in tar files of WebDataset's layout, each with an index of offsets.

A sample is a key and its files, which stand together in the tar as KEY.clip.mp4, KEY.pose.json and
so on. The index beside a shard says where in it each file lies, so that any sample is read by one
seek, and how large a clip is, so that nothing is decoded to know it. Equal samples give equal
bytes. A shard without an index is unfinished.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.json_file import read_json

VERSION = 1  # of the format
# WebDataset ends a key at its first dot; a tar of the oldest kind has 100 characters for a name
KEY = re.compile(r"[0-9A-Za-z_-]{1,72}")
FILE = re.compile(r"[0-9a-z_]{1,16}(\.[0-9a-z]{1,8}){1,2}")
MOST = 2**33 - 1  # bytes of a file in such a tar


@dataclass(frozen=True)
class Sample:
    """A key, unique in a corpus, and files by their names in the shard without it ("clip.mp4").

    `meta.json` has at least the keys of `Meta`, and whatever else the preprocessing says.
    """

    key: str
    files: Mapping[str, bytes]


class Meta(NamedTuple):
    """What the index knows of each sample without decoding it."""

    width: int  # pixels
    height: int
    frames: int  # 1 for a picture
    fps: float  # frames per second; 0 for a picture
    license: str
    source: str  # where it is from, in the words of the corpus


class Place(NamedTuple):
    """Where a file lies in its shard."""

    offset: int  # bytes
    size: int
    crc32: int  # of its bytes


class Entry(NamedTuple):
    """A sample in the index of its shard."""

    key: str
    meta: Meta
    files: dict[str, Place]


class Shard(NamedTuple):
    """The index of a shard."""

    path: Path  # of the tar
    size: int  # bytes
    sha256: str
    about: dict[str, Any]  # what it was made from, as its writer said
    samples: list[Entry]


def shard_path(folder: Path, number: int) -> Path:
    """The tar of a shard."""
    return folder / f"shard-{number:06d}.tar"


def write_shard(
    folder: Path, number: int, samples: Iterable[Sample], about: Mapping[str, Any] | None = None
) -> Shard:
    """Write a shard and its index, completely or not at all; the index comes last and marks the
    shard as finished.

    about: JSON data to keep in the index, such as the hash of what the samples were made from; it
    is read once they are written. Raises UsageError for a sample that cannot be stored, Failure if
    the disk is full.
    """
    path = shard_path(folder, number)
    index_path(path).unlink(missing_ok=True)  # it would describe another tar
    entries: list[Entry] = []
    with write_aside(path) as aside, aside.open("wb") as raw:
        file = _Hashed(raw)
        with tarfile.open(mode="w|", fileobj=file, format=tarfile.USTAR_FORMAT) as tar:  # type: ignore[call-overload]
            for sample in samples:
                entries.append(_add(tar, sample, str(path)))
    _require_unique([entry.key for entry in entries], str(path))
    shard = Shard(path, file.size, file.digest.hexdigest(), dict(about or {}), entries)
    with write_aside(index_path(path)) as aside:
        aside.write_text(_index_text(shard), encoding="utf-8")
    return shard


def write_shards(
    folder: Path, groups: Iterable[Callable[[], Iterable[Sample]]], about: Mapping[str, Any]
) -> list[Shard]:
    """Write one shard for each group, a function that makes its samples; shards that are finished
    and were made from the same are left, and their functions not called.

    about: what all of them are made from, as in `write_shard`.
    """
    out = []
    for number, make in enumerate(groups):
        found = finished_shard(folder, number, about)
        out.append(found or write_shard(folder, number, make(), about))
    return out


def finished_shard(folder: Path, number: int, about: Mapping[str, Any]) -> Shard | None:
    """The index of a shard that is finished and was made from `about`, whatever else it says of
    itself; otherwise None."""
    path = shard_path(folder, number)
    try:
        shard = read_shard(path)
    except UsageError:
        return None
    return shard if shard.about | json.loads(json.dumps(about)) == shard.about else None


def index_path(shard: Path) -> Path:
    """The index of a shard."""
    return shard.with_suffix(".index.json")


def read_shard(path: Path) -> Shard:
    """The index of the shard `path`, a tar, whose size is compared.

    Raises UsageError if one of the two is missing, or the index is damaged or of another shard.
    """
    index = index_path(path)
    try:
        data = read_json(index)
        size = path.stat().st_size
    except OSError as error:
        raise UsageError(
            f"{error.filename}: cannot be read ({error.strerror}); make the shard again"
        ) from None
    except ValueError:
        raise UsageError(f"{index}: damaged; make the shard again") from None
    try:
        if data["version"] != VERSION:
            raise UsageError(
                f"{index}: of version {data['version']!r} of the format, not {VERSION}; update aa "
                "or make the corpus again"
            )
        shard = Shard(
            path, int(data["size"]), str(data["sha256"]), dict(data["about"]),
            [_entry(row) for row in data["samples"]],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UsageError(
            f"{index}: not the index of a shard ({error!r}); make the shard again"
        ) from None
    _require_unique([entry.key for entry in shard.samples], str(index))
    _require_inside(shard, size)
    return shard


def meta_of(sample: Sample, where: str) -> Meta:
    """The entries of a sample's meta.json that the index needs.

    Raises UsageError, which names `where`, for a missing or impossible one.
    """
    name = f"{where}: {sample.key}.meta.json"
    if "meta.json" not in sample.files:
        raise UsageError(f"{name}: missing; every sample needs one")
    try:
        data = json.loads(sample.files["meta.json"])
        if not isinstance(data, dict):
            raise ValueError("not a table")
        return _meta(data)
    except RecursionError:
        raise UsageError(f"{name}: brackets are nested too deeply") from None
    except KeyError as error:
        raise UsageError(f"{name}: has no {error.args[0]}; it needs {_needed()}") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{name}: {error}; it needs {_needed()}") from None


def _needed() -> str:
    return ", ".join(Meta._fields)


def _meta(data: dict[str, Any]) -> Meta:
    for name, kinds in (("fps", (int, float)), ("license", (str,)), ("source", (str,))):
        if type(data[name]) not in kinds:
            raise ValueError(f"{name} cannot be {data[name]!r}")
    meta = Meta(
        _whole(data, "width"), _whole(data, "height"), _whole(data, "frames"), float(data["fps"]),
        data["license"], data["source"],
    )  # fmt: skip
    if not (0 < meta.fps <= 1000 if meta.frames > 1 else 0 <= meta.fps <= 1000):
        raise ValueError(f"fps of {meta.frames} frames cannot be {meta.fps:g}")
    return meta


def _whole(data: dict[str, Any], key: str) -> int:
    value = data[key]
    if type(value) is not int or not 1 <= value < 2**31:
        raise ValueError(f"{key} must be a whole number above 0, not {value!r}")
    return value


def _add(tar: tarfile.TarFile, sample: Sample, where: str) -> Entry:
    """Append the files of a sample to a tar."""
    if not KEY.fullmatch(sample.key):
        raise UsageError(
            f"{where}: {sample.key!r} is no key: up to 72 letters of ASCII, digits, - and _"
        )
    meta = meta_of(sample, where)
    places = {}
    for name in sorted(sample.files):
        data = sample.files[name]
        if not FILE.fullmatch(name) or len(data) > MOST:
            raise UsageError(f"{where}: {sample.key}.{name}: not a file that a shard can hold")
        info = tarfile.TarInfo(f"{sample.key}.{name}")  # of nobody, in 1970: the same bytes again
        info.size, info.mode = len(data), 0o644
        places[name] = Place(tar.offset + tarfile.BLOCKSIZE, len(data), zlib.crc32(data))
        tar.addfile(info, io.BytesIO(data))
    return Entry(sample.key, meta, places)


def _index_text(shard: Shard) -> str:
    """One line for each sample."""
    head = {"format": "shard", "version": VERSION, "size": shard.size, "sha256": shard.sha256,
            "about": shard.about}  # fmt: skip
    rows = [json.dumps({"key": entry.key, **entry.meta._asdict(), "files": entry.files})
            for entry in shard.samples]  # fmt: skip
    text = json.dumps(head, indent=1)[:-2] + ',\n "samples": ['
    return text + ",".join(f"\n  {row}" for row in rows) + "\n ]\n}\n"


def _entry(row: dict[str, Any]) -> Entry:
    files = {str(name): Place(*map(int, place)) for name, place in row["files"].items()}
    if not KEY.fullmatch(str(row["key"])):
        raise ValueError(f"{row['key']!r} is no key")
    if wrong := [name for name in files if not FILE.fullmatch(name)]:
        raise ValueError(f"{wrong[0]!r} is no file of a sample")
    if any(not 0 <= place.crc32 < 2**32 for place in files.values()):
        raise ValueError("a checksum is not a number of 32 bits")
    return Entry(str(row["key"]), _meta(row), files)


def _require_unique(keys: list[str], where: str) -> None:
    seen = set[str]()
    for key in keys:
        if key in seen:
            raise UsageError(f"{where}: two samples have the key {key}; give each its own")
        seen.add(key)


def _require_inside(shard: Shard, size: int) -> None:
    if size != shard.size:
        what = "truncated" if size < shard.size else "another file"
        raise UsageError(
            f"{shard.path}: {what}: it has {size} bytes, and {shard.size} by its index; copy or "
            "make it again"
        )
    for entry in shard.samples:
        for name, place in entry.files.items():
            if not 0 <= place.offset <= place.offset + place.size <= size:
                raise UsageError(
                    f"{index_path(shard.path)}: {entry.key}.{name} lies outside of the shard; make "
                    "the shard again"
                )


class _Hashed:
    """A file that hashes what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self.file.write(data)
