"""Scenes of `aa swap` on the page: the parts that it prepared, each a folder as `aa prepare` writes
it, whose masks and poses are corrected as those of a clip to learn (`studio.subjects`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from animateanywhere.datasets.subject import read_settings
from animateanywhere.studio.place import Place, Unknown

FILE = "scene.json"  # of `preprocessing.scene.parts`, in the folder of a scene's person


def is_part(folder: Path) -> bool:
    """Whether a subject is a part of a scene."""
    return (folder.parent / FILE).is_file()


def run_of(part: Path) -> Path:
    """The run folder of `aa swap` that a part is in."""
    return part.parent.parent


def show(place: Place, folder: Path) -> list[dict[str, Any]]:
    """The parts of a prepared scene in order: the id of each as a subject, and the number of its
    first frame in the scene. Raises Unknown where the folder is no scene's."""
    if not (folder / FILE).is_file():
        raise Unknown(folder.name)
    found = []
    for part in sorted(folder.glob("frames-*")):
        first = read_settings(part).get("first")
        if isinstance(first, int) and place.holds(part):
            found.append({"id": place.id_of(part), "first": first})
    return found
