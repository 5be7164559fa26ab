"""What a result of `aa swap` or `aa cast` was made of: uploads, known by the names of their files,
which no two have. The example's name is anybody's: it is known by its contents, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from animateanywhere.core.files import sha256
from animateanywhere.studio.clips import clips, file_of
from animateanywhere.studio.place import Place

PICTURES = {"swap": "characters", "cast": "pictures"}  # in the settings of a result


def uploads(place: Place) -> dict[str, dict[str, Any]]:
    """All uploads by the names of their files; the example with a digest."""
    found = {one["file"]: one for one in clips(place)}
    for one in found.values():
        if one.get("bundled"):
            file = file_of(place, one["id"])
            one["sha256"] = sha256(file) if file.is_file() else ""
    return found


def made_of(
    command: str, settings: dict[str, Any], known: dict[str, dict[str, Any]]
) -> dict[str, Any]:  # fmt: skip
    """What pages show of a result's files: `pictures` and `scene`, their names as people call them,
    and `given`, ids of those that are uploads."""
    if command not in PICTURES:
        return {}
    tables = _list(settings.get(PICTURES[command]))
    pictures = [_upload(one, known) for one in tables]
    names = [one.get("name", _file(table)) for one, table in zip(pictures, tables, strict=True)]
    given: dict[str, Any] = {"pictures": [one["id"] for one in pictures if "id" in one]}
    found: dict[str, Any] = {"pictures": names, "given": given}
    if command == "swap":
        table = settings.get("scene")
        scene = _upload(table, known)
        found["scene"], given["scene"] = scene.get("name", _file(table)), scene.get("id")
        found["title"] = f"{' and '.join(names)} in {found['scene']}"
    return found


def scene_run(name: str, known: dict[str, dict[str, Any]]) -> str | None:
    """What pages call the folder of an upload's scene, which has the name of its file."""
    found = (one["name"] for one in known.values() if name.startswith(one["id"]))
    return next((f"Scene {one}" for one in found), None)


def _list(value: Any) -> list[Any]:
    """A list of a sidecar, which anybody may have written; [] if it is something else."""
    return value if isinstance(value, list) else []


def _upload(table: Any, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The upload that a table of a sidecar is about; {} for another file."""
    one = known.get(_file(table), {})
    return {} if "sha256" in one and one["sha256"] != table.get("sha256") else one


def _file(table: Any) -> str:
    """The name of a file in a table of a sidecar."""
    return Path(str(table.get("file"))).name if isinstance(table, dict) else ""
