"""The run folder of a scene, runs/SCENE: which one it is, and who works in it.

Imports no network, so that a folder in use is known before any long work.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape as escape_glob
from itertools import count
from pathlib import Path

from rich.markup import escape

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.json_file import read_table
from animateanywhere.core.messages import quietly, say
from animateanywhere.core.paths import RUNS
from animateanywhere.core.run_folder import MARK, is_running, owned, require_idle, require_own
from animateanywhere.media.pictures import clip_digest

SCENE = ".scene.json"  # in a run folder: of which scene it is


@contextmanager
def scene_folder(
    scene: Path, runs: Path = RUNS, *, ends: bool = True
) -> Iterator[tuple[Path, str]]:
    """Own the run folder of a scene for the duration of the block; gives it, and a digest of the
    scene's contents. ends: as for `owned`, as which it raises."""
    contents = clip_digest(scene)
    digest = _digest(contents)
    folder = folder_of(scene, digest, runs)
    new = not runs.exists()
    try:
        with owned(folder, "swap", ends=ends):
            with write_aside(folder / SCENE) as aside:
                aside.write_text(json.dumps({"file": scene.name, "sha256": digest}) + "\n")
            try:
                yield folder, contents
            finally:
                # Refused before anything was found
                if folder.is_dir() and {one.name for one in folder.iterdir()} <= {MARK, SCENE}:
                    (folder / SCENE).unlink(missing_ok=True)
    finally:
        if new:
            with suppress(OSError):  # something is in it
                runs.rmdir()


def folder_of(scene: Path, digest: str, runs: Path = RUNS) -> Path:
    """The folder of a scene in `runs`: <scene>, <scene>-swap where the former is another command's,
    or with a number where it is of another scene of that name. digest: of the scene."""
    folder = runs / _name(scene)
    try:
        require_own(folder, "swap")
    except UsageError:
        folder = folder.with_name(f"{folder.name}-swap")
    for number in count(1):
        place = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        if read_table(place / SCENE).get("sha256", digest) == digest:
            break
    if place != folder:
        say(escape(f"{folder} is of another scene of that name: this one's is {place}"))
    return place


def require_idle_folder(scene: Path, runs: Path = RUNS) -> None:
    """Raise Failure where another process works in the folder of a scene."""
    if not runs.is_dir() or not (scene.is_file() or scene.is_dir()):
        return
    # A scene of several gigabytes is read for its digest only where a folder may be in use
    if not any(map(is_running, runs.glob(f"{escape_glob(_name(scene))}*"))):
        return
    with quietly():  # `scene_folder` says it
        folder = folder_of(scene, _digest(clip_digest(scene)), runs)
    require_idle(folder)


def _name(scene: Path) -> str:
    return Path(os.path.abspath(scene)).stem  # "." has none


def _digest(contents: str) -> str:
    return hashlib.sha256(contents.encode()).hexdigest()
