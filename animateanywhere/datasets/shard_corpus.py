"""A corpus of shards: the index of all of it, and reading any sample of it by its number."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import sha256, write_aside
from animateanywhere.core.frame_size import Size, ratio
from animateanywhere.core.json_file import read_json
from animateanywhere.datasets.arrays import CHECKS, parse_checks, read_rows
from animateanywhere.datasets.shards import (
    VERSION,
    Sample,
    Shard,
    index_path,
    read_shard,
)

INDEX = "corpus.json"
AGAIN = "copy the shard again, or delete it and run the command that wrote it"
# What its index has, and of each shard, with the types of the values
ENTRIES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("samples", "pictures", "clips", "frames", "bytes"), (int,)),
    "seconds": (int, float), **dict.fromkeys(("licenses", "aspects", "sizes", "about"), (dict,)),
    "shards": (list,),
}  # fmt: skip
SHARD: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("name", "sha256", "index_sha256"), (str,)),
    **dict.fromkeys(("samples", "size"), (int,)),
}
TAR = re.compile(r"[0-9A-Za-z_-]+\.tar")
_MISSING = -1  # size of a file that a sample does not have


@dataclass(frozen=True)
class ShardCorpus:
    """The samples of all shards of a folder, in order, as columns: a million take some 0.2 GB."""

    folder: Path
    about: dict[str, Any]  # the corpus's index
    shards: list[Path]
    keys: np.ndarray  # (N,) bytes
    shard: np.ndarray  # (N,) int32, index into `shards`
    sizes: np.ndarray  # (N, 2) int32: width and height in pixels
    frames: np.ndarray  # (N,) int32; 1 for a picture
    fps: np.ndarray  # (N,) float64; 0 for a picture
    places: dict[str, np.ndarray]  # by file name, (N, 3) int64: offset, size, CRC-32

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, number: int) -> str:
        """The key of a sample."""
        return bytes(self.keys[number]).decode()

    def name(self, number: int, file: str) -> str:
        """Where a file of a sample is, for messages."""
        return f"{self.shards[self.shard[number]]}: {self.key(number)}.{file}"

    def has(self, number: int, file: str) -> bool:
        """Whether a sample has a file."""
        return file in self.places and self.places[file][number, 1] != _MISSING

    def files(self, number: int) -> list[str]:
        """The names of a sample's files."""
        return [name for name in self.places if self.has(number, name)]

    def groups(self) -> list[range]:
        """The numbers of the samples of each shard."""
        ends = np.searchsorted(self.shard, np.arange(len(self.shards)), side="right").tolist()
        return [range(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def fingerprint(self, group: int) -> str:
        """The SHA-256 of a shard."""
        return str(self.about["shards"][group]["sha256"])

    def rows(
        self, number: int, names: Sequence[str], start: int = 0, stop: int | None = None
    ) -> list[np.ndarray]:
        """Rows `start` to `stop` of arrays (.npy) of a sample; no others are read. stop: None: all
        that follow.

        Raises UsageError, which names shard and key, if they cannot be read or are damaged.
        """
        checks = self.read(number, [CHECKS]).files.get(CHECKS, b"")
        arrays = [name for name in self.files(number) if name.endswith(".npy")]
        name = CHECKS
        try:
            table = parse_checks(checks, len(arrays))
            with self.shards[self.shard[number]].open("rb") as file:
                found = []
                for name in names:
                    offset, size, _ = self.places[name][number].tolist()
                    own = table[arrays.index(name)]
                    found.append(read_rows(file, offset, size, own, start, stop or len(own) - 1))
                return found
        except (OSError, ValueError, TypeError, IndexError, OverflowError, KeyError) as error:
            raise UsageError(f"{self.name(number, name)}: damaged ({error}); {AGAIN}") from None

    def read(self, number: int, files: Iterable[str] | None = None) -> Sample:
        """A sample, with all its files or only `files`, as far as it has them.

        Raises UsageError, which names shard and key, if it cannot be read or is damaged.
        """
        wanted = self.files(number) if files is None else [n for n in files if self.has(number, n)]
        found = {}
        path = self.shards[self.shard[number]]
        try:
            with path.open("rb") as file:
                for name in wanted:
                    offset, size, check = self.places[name][number].tolist()
                    file.seek(offset)
                    data = file.read(size)
                    if zlib.crc32(data) != check:
                        raise UsageError(
                            f"{self.name(number, name)}: damaged: its bytes are not those of the "
                            f"index; {AGAIN}"
                        )
                    found[name] = data
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from None
        return Sample(self.key(number), found)


def write_corpus(folder: Path, shards: list[Shard], about: dict[str, Any] | None = None) -> Path:
    """Write the index of a corpus of these shards, which marks it as finished. Shards of an earlier
    corpus in the folder are removed.

    about: JSON data of its maker to keep in it. Raises UsageError if two samples have one key.
    """
    twice = [k for k, n in Counter(e.key for s in shards for e in s.samples).items() if n > 1]
    if twice:
        raise UsageError(f"{folder}: two samples have the key {twice[0]}; give each its own")
    data = summary(shards, about or {})
    path = folder / INDEX
    with write_aside(path) as aside:
        aside.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    for old in set(folder.glob("shard-*.tar")) - {shard.path for shard in shards}:
        old.unlink()
        index_path(old).unlink(missing_ok=True)
    return path


def summary(shards: Sequence[Shard], about: dict[str, Any]) -> dict[str, Any]:
    """The contents of the index of a corpus of these shards."""
    metas = [entry.meta for shard in shards for entry in shard.samples]
    sizes = [Size(meta.width, meta.height) for meta in metas]
    clips = [meta for meta in metas if meta.frames > 1]
    return {
        "format": "corpus", "version": VERSION, "samples": len(metas),
        "pictures": len(metas) - len(clips), "clips": len(clips),
        "frames": sum(meta.frames for meta in metas),
        "seconds": round(sum(meta.frames / meta.fps for meta in clips), 3),
        "bytes": sum(shard.size for shard in shards),
        "licenses": _counted(meta.license for meta in metas),
        "aspects": _counted(map(ratio, sizes)), "sizes": _counted(map(str, sizes)),
        "about": about,
        "shards": [
            {"name": shard.path.name, "samples": len(shard.samples), "size": shard.size,
             "sha256": shard.sha256, "index_sha256": sha256(index_path(shard.path))}
            for shard in shards
        ],
    }  # fmt: skip


def is_shard_corpus(folder: Path) -> bool:
    """Whether a folder has the index of a corpus of shards, or is an unfinished one."""
    return (folder / INDEX).is_file() or any(folder.glob("shard-*.tar"))


def open_shards(folder: Path) -> ShardCorpus:
    """Open a corpus of shards: its index and those of all shards are read, and the sizes of the
    shards compared.

    Raises UsageError, which names the file, if anything is missing, damaged or does not agree.
    """
    about = read_corpus_index(folder)
    shards = [named_shard(folder / row["name"], row) for row in about["shards"]]
    return joined(folder, shards, about)


def named_shard(path: Path, row: dict[str, Any] | None) -> Shard:
    """The index of a shard, compared with what the index of the corpus says of it in `row`, if that
    is known. Raises UsageError as `read_shard`, and if they do not agree."""
    index = index_path(path)
    try:
        other = row is not None and index.is_file() and sha256(index) != row["index_sha256"]
    except OSError as error:
        raise UsageError(f"{index}: cannot be read ({error.strerror})") from None
    if other:
        raise UsageError(
            f"{index}: not the index that {INDEX} of the corpus names; copy or make the corpus "
            "again"
        )
    shard = read_shard(path)
    if row is not None and shard.sha256 != row["sha256"]:
        raise UsageError(f"{path}: not the shard that {INDEX} of the corpus names")
    return shard


def read_corpus_index(folder: Path) -> dict[str, Any]:
    """The index of a corpus, as written by `write_corpus`. Raises UsageError if it is missing or
    damaged."""
    path = folder / INDEX
    try:
        data = read_json(path)
        _require_index(data)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}); the folder is no finished corpus: run "
            "`aa corpus build` to the end"
        ) from None
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{path}: not the index of a corpus ({error}); run `aa corpus build` again"
        ) from None
    return dict(data)


def _require_index(data: Any) -> None:
    """Raise ValueError for what is no index of a corpus."""
    if not isinstance(data, dict) or data.get("format") != "corpus":
        raise ValueError('its "format" is not "corpus"')
    if data.get("version") != VERSION:
        raise ValueError(f"of version {data.get('version')!r} of the format, not {VERSION}")
    _require_types(data, ENTRIES)
    for name in ("licenses", "aspects", "sizes"):
        if not all(type(count) is int and count > 0 for count in data[name].values()):
            raise ValueError(f"{name} must be counts")
    if not data["shards"]:
        raise ValueError("it names no shard")
    for row in data["shards"]:
        _require_types(row, SHARD)
        if not TAR.fullmatch(row["name"]):
            raise ValueError(f"{row['name']!r} is no name of a shard")
    names = Counter(row["name"] for row in data["shards"])
    if len(names) < len(data["shards"]):
        raise ValueError(f"it names {names.most_common(1)[0][0]} twice")


def _require_types(table: Any, types: dict[str, tuple[type, ...]]) -> None:
    if not isinstance(table, dict):
        raise ValueError("not a table")
    for name, some in types.items():
        value = table.get(name)
        if type(value) not in some or (isinstance(value, int | float) and not 0 <= value < inf):
            text = repr(value)[:40] if name in table else "missing"
            raise ValueError(f"{name}: {text}, where {some[-1].__name__} is needed")


def joined(folder: Path, shards: list[Shard], about: dict[str, Any] | None = None) -> ShardCorpus:
    """The corpus of these shards."""
    rows = [(number, row) for number, shard in enumerate(shards) for row in shard.samples]
    names = sorted({name for _, row in rows for name in row.files})
    places = {name: np.full((len(rows), 3), _MISSING, np.int64) for name in names}
    for index, (_, row) in enumerate(rows):
        for name, place in row.files.items():
            places[name][index] = place
    metas = [row.meta for _, row in rows]
    return ShardCorpus(
        folder, about or {}, [shard.path for shard in shards],
        np.array([row.key.encode() for _, row in rows], "S"),
        np.array([number for number, _ in rows], np.int32),
        np.array([meta[:2] for meta in metas], np.int32).reshape(-1, 2),
        np.array([meta.frames for meta in metas], np.int32),
        np.array([meta.fps for meta in metas], np.float64),
        places,
    )  # fmt: skip


def _counted(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, the most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0])))
