"""The state of an unfinished corpus: each finished piece is kept at once, and pieces become shards
in their order, whatever order they are finished in. A process killed at any moment loses only the
pieces in work."""

from __future__ import annotations

import json
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.markup import escape

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.json_file import parse_json
from animateanywhere.core.messages import warn
from animateanywhere.datasets.samples import check_sample
from animateanywhere.datasets.shards import Sample, Shard, finished_shard, write_shard
from animateanywhere.preprocessing.corpus.shots import Shots
from animateanywhere.preprocessing.corpus.source import Piece, Rejection, Source

FOLDER = "unfinished"  # in the corpus
PER_SHARD = 1000  # samples
SHARD_BYTES = 2**28


class ShotJournal:
    """The shots of each source, kept in a file as they are found."""

    def __init__(self, folder: Path, sources: Sequence[Source]) -> None:
        self.path, self.sources = folder / FOLDER / "shots.jsonl", sources
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.found: dict[str, Shots] = {}
        by_id = {source.id: source for source in sources}
        for row in _lines(self.path):
            source = by_id[row["source"]]
            pieces = [Piece(source, start, frames) for start, frames in row["pieces"]]
            rejections = [Rejection(*values) for values in row["rejections"]]
            self.found[source.id] = Shots(pieces, rejections)

    def todo(self) -> list[tuple[str, Source]]:
        """The sources that are left, by `id`."""
        return [(one.id, one) for one in self.sources if one.id not in self.found]

    def add(self, name: str, shots: Shots) -> None:
        """Keep the shots of the source with this `id`."""
        pieces = [(piece.start, piece.frames) for piece in shots.pieces]
        _append(self.path, {"source": name, "pieces": pieces, "rejections": shots.rejections})
        self.found[name] = shots

    def all(self) -> tuple[list[Piece], list[Rejection]]:
        """The pieces and the rejections of all sources, in order."""
        shots = [self.found[source.id] for source in self.sources if source.id in self.found]
        pieces = [piece for one in shots for piece in one.pieces]
        return pieces, [rejection for one in shots for rejection in one.rejections]


class Keyed(Protocol):
    """What becomes a sample."""

    @property
    def key(self) -> str: ...


K = TypeVar("K", bound=Keyed)


class PieceJournal:
    """The samples and rejections of the pieces, and the shards written from them.

    about: what the corpus is made from, as in `write_shard`: shards of something else are replaced.
    """

    def __init__(self, folder: Path, pieces: Sequence[Keyed], about: dict[str, Any]) -> None:
        self.folder, self.about = folder, about
        self.keys = [piece.key for piece in pieces]
        self.parts = folder / FOLDER / "samples"
        self.parts.mkdir(parents=True, exist_ok=True)
        self.rejected_file = folder / FOLDER / "rejected.jsonl"
        self.rejected = {row["key"]: Rejection(*row["rejection"])
                         for row in _lines(self.rejected_file)}  # fmt: skip
        self.shards: list[Shard] = []
        while shard := finished_shard(folder, len(self.shards), about):
            self.shards.append(shard)
        written = {entry.key for shard in self.shards for entry in shard.samples}
        self.first = max((i + 1 for i, key in enumerate(self.keys) if key in written), default=0)
        self.sizes: dict[str, int] = {}  # bytes of the samples that are not in a shard yet
        known = set(self.keys)
        for part in sorted(self.parts.iterdir()):
            if part.suffix != ".zip" or part.stem not in known or part.stem in written:
                _remove(part)
            elif _is_whole(part):
                self.sizes[part.stem] = part.stat().st_size
            else:
                _remove(part)
                warn(escape(f"{part}: damaged; it is made again"))
        self.done = written | self.sizes.keys() | self.rejected.keys()

    def todo(self, pieces: Sequence[K]) -> list[tuple[str, K]]:
        """The pieces that are left, by key."""
        return [(piece.key, piece) for piece in pieces if piece.key not in self.done]

    def add(self, key: str, outcome: Sample | Rejection) -> None:
        """Keep a sample or a rejection, and write the shards that are complete with it."""
        if isinstance(outcome, Rejection):
            _append(self.rejected_file, {"key": key, "rejection": outcome})
            self.rejected[key] = outcome
        else:
            self.sizes[key] = _write_part(self._part(key), outcome)
        self.done.add(key)
        self._write_shards(last=False)

    def finish(self) -> list[Shard]:
        """Write the last shard; returns all of them."""
        self._write_shards(last=True)
        return self.shards

    def _write_shards(self, last: bool) -> None:
        while (group := self._next_group(last)) is not None:
            samples = (_read_part(self._part(key)) for key in group)
            self.shards.append(write_shard(self.folder, len(self.shards), samples, self.about))
            for key in group:
                self._part(key).unlink()
                del self.sizes[key]
            self.first = self.keys.index(group[-1], self.first) + 1

    def _next_group(self, last: bool) -> list[str] | None:
        """The samples of the next shard, None if it is not complete."""
        group: list[str] = []
        size = 0
        for index in range(self.first, len(self.keys)):
            key = self.keys[index]
            if key in self.rejected:
                continue
            if key not in self.sizes:
                return None
            group.append(key)
            size += self.sizes[key]
            if len(group) == PER_SHARD or size >= SHARD_BYTES:
                return group
        return group if last and group else None

    def _part(self, key: str) -> Path:
        return self.parts / f"{key}.zip"


def has_samples(folder: Path) -> bool:
    """Whether a folder has samples of a corpus, in shards or on the way there."""
    return any(folder.glob("shard-*.tar")) or any((folder / FOLDER / "samples").glob("*.zip"))


def clear(folder: Path) -> None:
    """Remove what is only needed to go on."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def write_rejections(path: Path, rejections: Iterable[Rejection]) -> None:
    """Write one JSON object for each rejection, a line each."""
    lines = [json.dumps(one._asdict()) + "\n" for one in rejections]
    with write_aside(path) as aside:
        aside.write_text("".join(lines), encoding="utf-8")


def _write_part(path: Path, sample: Sample) -> int:
    with write_aside(path) as aside, zipfile.ZipFile(aside, "w") as file:
        for name, content in sample.files.items():
            file.writestr(name, content)
    return path.stat().st_size


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _read_part(path: Path) -> Sample:
    """A sample. Raises UsageError if it is damaged."""
    try:
        with zipfile.ZipFile(path) as file:
            return Sample(path.stem, {name: file.read(name) for name in file.namelist()})
    except Exception as error:  # of damaged files, zipfile raises whatever it meets
        raise UsageError(
            f"{path}: damaged ({' '.join(str(error).split())}); run the command again, and it is "
            "made again"
        ) from None


def _is_whole(path: Path) -> bool:
    """Whether a sample is as it was written."""
    try:
        check_sample(_read_part(path), str(path.parent))
    except UsageError:
        return False
    return True


def _append(path: Path, row: dict[str, Any]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            text = json.dumps(row)
            file.write(f"{zlib.crc32(text.encode()):08x} {text}\n")
    except OSError as error:
        raise Failure(
            f"{path}: cannot be written ({error.strerror}): free some space and run the command "
            "again"
        ) from None


def _lines(path: Path) -> list[Any]:
    """The rows of a file that was appended to, each with a CRC-32 before it; after one that is cut
    off or damaged, the rest is removed, to be made again."""
    if not path.is_file():
        return []
    rows: list[Any] = []
    lines = path.read_bytes().split(b"\n")
    for line in lines[:-1]:
        check, _, text = line.partition(b" ")
        if check != f"{zlib.crc32(text):08x}".encode():
            break
        rows.append(parse_json(text.decode()))
    if len(rows) < len(lines) - 1 or lines[-1]:
        warn(escape(f"{path}: damaged after line {len(rows)}; the rest is made again"))
        with write_aside(path) as aside:
            aside.write_bytes(b"".join(line + b"\n" for line in lines[: len(rows)]))
    return rows
