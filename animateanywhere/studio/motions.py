"""Motions to follow: those that come with the package, and the uploads, as keypoints to draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.core.paths import EXAMPLES
from animateanywhere.pose.skeleton import Poses, read_all_poses
from animateanywhere.studio.clips import clips, file_of
from animateanywhere.studio.place import Place, Unknown
from animateanywhere.studio.subjects import SKELETON

BUNDLED = "bundled-"  # begins the ids of what comes with the package


def motions(place: Place) -> list[dict[str, Any]]:
    """All motions: id, name, whether its keypoints are known, and how long it is."""
    found = []
    for one in clips(place):
        if one.get("bundled") or one["kind"] == "picture":
            continue
        known = keypoints_file(place, one["id"])
        found.append({
            "id": one["id"], "name": one["name"], "seconds": one["seconds"], "kind": one["kind"],
            "known": known is not None,
        })  # fmt: skip
    for path in _bundled():
        poses = read_all_poses(path)
        found.append({
            "id": f"{BUNDLED}{_stem(path)}", "name": _stem(path).replace("-", " "),
            "seconds": len(poses.keypoints) / poses.fps, "kind": "bundled", "known": True,
        })  # fmt: skip
    return found


def motion_file(place: Place, name: str) -> Path:
    """The file that `aa generate --pose` gets: keypoints where they are known, which spares finding
    them again; else the clip. Raises Unknown."""
    return keypoints_file(place, name) or file_of(place, name)


def keypoints_file(place: Place, name: str) -> Path | None:
    """The poses.json of a motion; None where nobody has looked for them yet. Raises Unknown."""
    if name.startswith(BUNDLED):
        found = [path for path in _bundled() if _stem(path) == name.removeprefix(BUNDLED)]
        if not found:
            raise Unknown(name)
        return found[0]
    path = place.file("motions", name, ".json")
    if path.is_file():
        return path
    given = place.file("clips", name, ".poses.json")
    return given if given.is_file() else None


def keypoints(place: Place, name: str) -> dict[str, Any]:
    """Keypoints to draw, of the most prominent person. Raises Unknown where there are none."""
    path = keypoints_file(place, name)
    if path is None:
        raise Unknown(name)
    return drawable(read_all_poses(path))


def drawable(poses: Poses) -> dict[str, Any]:
    points = poses.keypoints
    if points.ndim == 4:
        sizes = np.ptp(np.where(points[..., 2:] > 0, points[..., :2], np.nan), axis=2)
        people = (
            np.nan_to_num(np.nanmean(sizes, axis=(0, 2))) if points.shape[1] > 1 else np.ones(1)
        )
        points = points[:, int(people.argmax())]
    if not len(points):
        raise UsageError("no frames")
    return {"keypoints": np.round(points, 1).tolist(), "width": poses.width,
            "height": poses.height, "fps": poses.fps, **SKELETON}  # fmt: skip


def _bundled() -> list[Path]:
    return sorted([*EXAMPLES.glob("motions/*.poses.json"), EXAMPLES / "driving.poses.json"])


def _stem(path: Path) -> str:
    return path.name.removesuffix(".poses.json")
