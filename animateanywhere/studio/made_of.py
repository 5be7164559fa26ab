"""What a result of `aa swap` or `aa cast` was made of: uploads, known by the names of their files,
which no two have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from animateanywhere.studio.clips import clips
from animateanywhere.studio.place import Place

PICTURES = {"swap": "characters", "cast": "pictures"}  # in the settings of a result


def uploads(place: Place) -> dict[str, dict[str, Any]]:
    """All uploads by the names of their files."""
    return {one["file"]: one for one in clips(place)}


def made_of(
    command: str, settings: dict[str, Any], known: dict[str, dict[str, Any]]
) -> dict[str, Any]:  # fmt: skip
    """What pages show of a result's files: `pictures` and `scene`, their names as people call them,
    and `given`, ids of those that are uploads."""
    if command not in PICTURES:
        return {}
    files = [_file(one) for one in _list(settings.get(PICTURES[command]))]
    pictures = [known.get(file, {}) for file in files]
    names = [one.get("name", file) for one, file in zip(pictures, files, strict=True)]
    given: dict[str, Any] = {"pictures": [one["id"] for one in pictures if "id" in one]}
    found: dict[str, Any] = {"pictures": names, "given": given}
    if command == "swap":
        file = _file(settings.get("scene"))
        scene = known.get(file, {})
        found["scene"], given["scene"] = scene.get("name", file), scene.get("id")
        found["title"] = f"{' and '.join(names)} in {found['scene']}"
    return found


def scene_run(name: str, known: dict[str, dict[str, Any]]) -> str | None:
    """What pages call the folder of an upload's scene, which has the name of its file."""
    found = (one["name"] for one in known.values() if name.startswith(one["id"]))
    return next((f"Scene {one}" for one in found), None)


def _list(value: Any) -> list[Any]:
    """A list of a sidecar, which anybody may have written; [] if it is something else."""
    return value if isinstance(value, list) else []


def _file(table: Any) -> str:
    """The name of a file in a table of a sidecar."""
    return Path(str(table.get("file"))).name if isinstance(table, dict) else ""
