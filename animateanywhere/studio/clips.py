"""Uploads: streamed into the runs folder under a name of the server's, and checked by content."""

from __future__ import annotations

import json
import math
import shutil
import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.json_file import parse_json, read_table
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.studio.form import TooLarge
from animateanywhere.studio.place import ID, Place, Unknown, new_id
from animateanywhere.studio.process import run_module

LARGEST = 10**9  # bytes of an upload
SPARE = 2**26  # bytes that stay free on the disk
AT_ONCE, IN_FLIGHT = 4, 2 * 10**9  # uploads at the same time, and bytes that these may bring
PATIENCE = 120  # seconds for a look at a file
LONGEST_NAME = 80
KINDS = ("video", "picture", "poses")
EXAMPLE = "0" * 16  # id of the clip that comes with the package
EXAMPLE_FILE = "reference.mp4"


class TooMany(Exception):
    """More uploads at the same time than are taken; its argument says so."""


@dataclass
class Uploads:
    """The uploads that are under way, in one thread."""

    sizes: dict[str, int] = field(default_factory=dict)  # bytes at most, by the id of the upload
    written: dict[str, int] = field(default_factory=dict)  # bytes so far, which the disk has

    @contextmanager
    def begin(self, ident: str, length: int | None, folder: Path) -> Iterator[None]:
        """An upload into a folder, for the duration of the block. One without a length may become
        as large as any. Raises TooLarge, TooMany, and Failure where the disk has no room for all
        that are under way."""
        if (length or 0) > LARGEST:
            raise TooLarge(LARGEST)
        if len(self.sizes) >= AT_ONCE:
            raise TooMany(f"{AT_ONCE} uploads are under way: send this one when one has ended")
        others, most = sum(self.sizes.values()), LARGEST if length is None else length
        if self.sizes and others + most > IN_FLIGHT:
            raise TooMany(
                f"uploads of {others / 1e9:.1f} GB are under way: send this when they have ended"
            )
        coming = others - sum(self.written.values())
        if shutil.disk_usage(folder).free < coming + (length or 0) + SPARE:
            raise Failure("the disk is full: free some space, then upload again")
        self.sizes[ident], self.written[ident] = most, 0
        try:
            yield
        finally:
            del self.sizes[ident], self.written[ident]


async def take(
    place: Place, uploads: Uploads, name: str, length: int | None, body: AsyncIterator[bytes]
) -> dict[str, Any]:
    """Write an upload and look at it; returns its facts.

    name: what people call it, of which no path is made. length: as announced, None if it was not.
    Raises as `Uploads.begin` does, and UsageError for a file that is no video, picture or poses.
    Nothing is left then.
    """
    folder, ident = place.own / "clips", new_id()
    folder.mkdir(parents=True, exist_ok=True)
    with uploads.begin(ident, length, folder):
        return await _take(folder, uploads, ident, name, body)


async def _take(
    folder: Path, uploads: Uploads, ident: str, name: str, body: AsyncIterator[bytes]
) -> dict[str, Any]:
    """`take` in its folder, under an id."""
    upload = folder / f"{ident}.upload"
    strip = folder / f"{ident}.jpg"
    try:
        with write_aside(upload) as aside, aside.open("wb") as file:
            size = 0
            async for piece in body:
                size += len(piece)
                if size > LARGEST:
                    raise TooLarge(LARGEST)
                file.write(piece)
                uploads.written[ident] = size
        if not upload.stat().st_size:
            raise UsageError("the file is empty")
        facts = await look(upload, strip)
        path = upload.with_suffix(".poses.json" if facts["kind"] == "poses" else facts["suffix"])
        upload.rename(path)
        table = {"name": clean(name), "file": path.name, **facts}
        with write_aside(folder / f"{ident}.json") as aside:
            aside.write_text(json.dumps(table) + "\n", encoding="utf-8")
    except BaseException:
        for left in folder.glob(f"{ident}.*"):
            left.unlink()
        raise
    return {"id": ident, **table}


async def look(path: Path, strip: Path) -> dict[str, Any]:
    """The facts of a file (`studio.look`). Raises UsageError with what is wrong with it."""
    try:
        code, out, said = await run_module(
            "animateanywhere.studio.look", str(path), str(strip), patience=PATIENCE
        )
    except TimeoutError:
        raise UsageError("reading it takes too long; give a shorter part of it") from None
    if code == 0:
        return dict(parse_json(out))
    if code == 2 and said:
        raise UsageError(said[-1])
    raise UsageError("it cannot be read: it is damaged, or not a video")


def clips(place: Place) -> list[dict[str, Any]]:
    """All uploads, the newest first."""
    files = sorted((place.own / "clips").glob("*.json"), key=lambda file: -file.stat().st_mtime)
    return [{**table, "id": file.stem} for file in files if (table := _table(file)) is not None]


def clip_of(place: Place, name: str) -> dict[str, Any]:
    """The facts of a clip. Raises Unknown."""
    table = _table(place.file("clips", name, ".json"))
    if table is None:
        raise Unknown(name)
    return {**table, "id": name}


def file_of(place: Place, name: str) -> Path:
    """The file of a clip. Raises Unknown."""
    one = clip_of(place, name)
    if one.get("bundled"):
        return EXAMPLES / one["file"]
    path = place.own / "clips" / one["file"]
    if not path.is_file() or not place.holds(path):
        raise Unknown(name)
    return path


def delete(place: Place, name: str) -> None:
    """Delete an upload, and what was found in it. Raises Unknown."""
    looks = [*(place.own / "looks").glob(f"*{name}*"), *(place.runs / "check").rglob(name)]
    for folder in (place.file("subjects", name), *looks):
        shutil.rmtree(folder, ignore_errors=True)
    for kind in ("subjects", "motions", "clips"):
        for path in (place.own / kind).glob(f"{name}[.-]*"):
            path.unlink()


def sweep(place: Place) -> None:
    """Delete what is left of uploads that were cut off with the studio: it has no facts."""
    for path in (place.own / "clips").glob("*.*"):
        ident = path.name.partition(".")[0]
        if ID.fullmatch(ident) and not path.with_name(f"{ident}.json").exists():
            path.unlink()


def clean(name: str) -> str:
    """The name of a file as text to show: one line, without a path."""
    name = name.replace("\\", "/").rsplit("/", 1)[-1]
    letters = (c if unicodedata.category(c)[0] != "C" else " " for c in name)
    return " ".join("".join(letters).split())[:LONGEST_NAME] or "clip"


def _table(file: Path) -> dict[str, Any] | None:
    """The facts of an upload; None if they are damaged."""
    table = read_table(file)
    path, name = table.get("file"), table.get("name")
    if not isinstance(path, str) or not isinstance(name, str) or table.get("kind") not in KINDS:
        return None
    own = path == EXAMPLE_FILE if table.get("bundled") else path.startswith(f"{file.stem}.")
    numbers = (table.get("seconds"), *(table.get(key, 0) for key in ("fps", "width", "height")))
    known = all(type(one) in (int, float) and math.isfinite(one) for one in numbers)
    return table if ID.fullmatch(file.stem) and own and "/" not in path and known else None


async def add_example(place: Place) -> None:
    """Put the clip of a rendered person that comes with the package among the uploads, once."""
    file, facts = EXAMPLES / EXAMPLE_FILE, place.own / "clips" / f"{EXAMPLE}.json"
    if facts.exists() or not file.is_file():
        return
    facts.parent.mkdir(parents=True, exist_ok=True)
    table = {"name": "Example: a rendered man in a room", "file": file.name, "bundled": True,
             "class_word": "man", "scene": "in a room"}  # fmt: skip
    table |= await look(file, facts.with_suffix(".jpg"))
    with write_aside(facts) as aside:
        aside.write_text(json.dumps(table) + "\n", encoding="utf-8")
