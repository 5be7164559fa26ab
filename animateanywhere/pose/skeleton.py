"""Skeletons: OpenPose-18 keypoints as arrays, as pictures and as `poses.json`.

Base models are trained on these pictures, so their style (palette, widths, order) is part of every
base: a change here requires a new base. Palette and limb order follow CMU OpenPose as rendered
by ControlNet annotators: limbs at 60 % of their color, joints on top at full color.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.pose.keypoints import COLORS, KEYPOINTS, LIMBS, VISIBLE

__all__ = [
    "COLORS", "KEYPOINTS", "LIMBS", "VISIBLE",
    "Poses", "draw", "heat", "limb_distances", "one_person", "parse_poses", "poses_text",
    "read_all_poses", "read_poses", "write_poses",
]  # fmt: skip

LIMB_SHADE = 0.6  # of the color, as in ControlNet's renders
LIMB_RADIUS = 1.25 / 128  # of the side of a square frame of the same area
JOINT_RADIUS = 1.75 / 128
# Limits of a file: bytes (100,000 frames of one person), persons, pixels a side, frames per second,
# and sides of the picture to a keypoint
MAX_BYTES, MAX_PERSONS, MAX_SIDE, MIN_FPS, MAX_FPS, FARTHEST = 2**26, 20, 2**14, 0.01, 1000.0, 16


class Poses(NamedTuple):
    """Contents of a `poses.json`: keypoints float32 (F, 18, 3) in pixels of width x height, and
    bool (F, 18), which of them were not detected but interpolated between two frames."""

    keypoints: np.ndarray
    width: int
    height: int
    fps: float
    filled: np.ndarray | None = None


def draw(keypoints: np.ndarray, height: int, width: int) -> np.ndarray:
    """Skeleton pictures of OpenPose-18 keypoints.

    Args:
        keypoints: float (F, 18, 3): x, y in pixels (x in [0, width], pixel centers at .5) and
            confidence; keypoints below `VISIBLE` and their limbs are not drawn.
        height, width: size of the pictures in pixels.

    Returns:
        uint8 (F, height, width, 3), on black, antialiased.
    """
    points = np.asarray(keypoints, dtype=np.float32)
    if points.ndim != 3 or points.shape[1:] != (len(KEYPOINTS), 3):
        raise ValueError(f"keypoints must be (F, 18, 3), got {points.shape}")
    side = (height * width) ** 0.5
    limb, joint = LIMB_RADIUS * side, JOINT_RADIUS * side
    pictures = np.zeros((len(points), height, width, 3), dtype=np.float32)
    visible = (points[..., 2] >= VISIBLE) & np.isfinite(points).all(-1)
    colors = COLORS.astype(np.float32)
    shaded = colors * LIMB_SHADE
    for picture, pose, shown in zip(pictures, points[..., :2].tolist(), visible, strict=True):
        for (a, b), color in zip(LIMBS, shaded, strict=False):
            if shown[a] and shown[b]:
                _capsule(picture, pose[a], pose[b], limb, color)
        for index in np.flatnonzero(shown):
            _capsule(picture, pose[index], pose[index], joint, colors[index])
    return (pictures + 0.5).astype(np.uint8)


def heat(keypoints: np.ndarray, size: int, cells: int | tuple[int, int]) -> np.ndarray:
    """A coarse heatmap of the body, from its limbs, to weight a loss.

    1 up to a tenth of the body's extent from a limb, falling to 0 at twice that.

    Args:
        keypoints: float (F, 18, 3) in pixels of a frame.
        size: width of the frame.
        cells: width of the result, which is a square, or its height and width (h, w).

    Returns:
        float32 (F, h, w) in [0, 1]; 0 in frames without visible limbs.
    """
    shape = (cells, cells) if isinstance(cells, int) else cells
    out = np.zeros((len(keypoints), *shape), np.float32)
    for picture, pose in zip(out, keypoints, strict=True):
        distance = limb_distances(pose, size, cells)
        if np.isfinite(distance).all():
            reach = 0.1 * max(np.ptp(pose[pose[:, 2] >= VISIBLE, :2], axis=0).max(), 1)
            picture[:] = np.clip(2 - distance / reach, 0, 1)
    return out


def limb_distances(pose: np.ndarray, size: int, cells: int | tuple[int, int]) -> np.ndarray:
    """Distances (h, w) in pixels of a grid's centers from the nearest visible limb of a pose
    (18, 3); infinite without one. size, cells: as in `heat`."""
    shape = (cells, cells) if isinstance(cells, int) else cells
    centers = [(np.arange(count, dtype=np.float32) + 0.5) * size / shape[1] for count in shape]
    grid = np.stack(np.meshgrid(*reversed(centers)), -1)  # (h, w, 2): x, y
    visible = pose[:, 2] >= VISIBLE
    ends = np.array([(a, b) for a, b in LIMBS if visible[a] and visible[b]])
    if not len(ends):
        return np.full(shape, np.inf, np.float32)
    start, along = pose[ends[:, 0], :2], pose[ends[:, 1], :2] - pose[ends[:, 0], :2]  # (L, 2)
    apart = grid[:, :, None] - start  # (h, w, L, 2)
    share = (apart * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-6)
    nearest = np.clip(share, 0, 1)[..., None] * along
    distances: np.ndarray = np.linalg.norm(apart - nearest, axis=-1).min(-1)
    return distances


def _capsule(
    picture: np.ndarray, start: list[float], end: list[float], radius: float, color: np.ndarray
) -> None:
    """Blend a line with round ends into picture (H, W, 3) float32 in place: coverage is the exact
    distance to the edge clamped to one pixel, which antialiases without supersampling."""
    height, width = picture.shape[:2]
    (ax, ay), (bx, by) = start, end
    reach = radius + 1
    left, right = max(int(min(ax, bx) - reach), 0), min(int(max(ax, bx) + reach) + 1, width)
    top, bottom = max(int(min(ay, by) - reach), 0), min(int(max(ay, by) + reach) + 1, height)
    if left >= right or top >= bottom:
        return
    x = np.arange(left + 0.5 - ax, right - ax, dtype=np.float32)
    y = np.arange(top + 0.5 - ay, bottom - ay, dtype=np.float32)[:, None]
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    if length > 1e-6:
        along = x * (dx / length) + y * (dy / length)
        along = np.minimum(np.maximum(along, 0), 1)
        x, y = x - along * dx, y - along * dy
    # minimum and maximum: np.clip costs three times as much on patches this small
    cover = np.minimum(np.maximum(radius + 0.5 - np.sqrt(x * x + y * y), 0), 1)[..., None]
    patch = picture[top:bottom, left:right]
    patch += cover * (color - patch)


def write_poses(path: Path, poses: Poses) -> None:
    """Write keypoints as `poses.json`."""
    with write_aside(path) as tmp:
        tmp.write_text(poses_text(poses), encoding="utf-8")


def poses_text(poses: Poses) -> str:
    """Keypoints as the text of a `poses.json`, one line per frame so that it can be corrected
    manually."""
    rows = [
        "    " + json.dumps([[round(float(v), 3) for v in point] for point in pose])
        for pose in poses.keypoints
    ]
    head = {"format": "openpose18", "width": poses.width, "height": poses.height, "fps": poses.fps}
    text = json.dumps(head, indent=2)[:-2] + ',\n  "keypoints": [\n' + ",\n".join(rows) + "\n  ]"
    if poses.filled is not None:  # pairs of frame and keypoint
        text += ',\n  "filled": ' + json.dumps(np.argwhere(poses.filled).tolist())
    return text + "\n}\n"


def read_poses(path: Path) -> Poses:
    """Read a `poses.json` of one person. Raises UsageError if it is missing or damaged."""
    return one_person(read_all_poses(path), str(path))


def one_person(poses: Poses, where: str) -> Poses:
    """Keypoints (F, 18, 3) of those of one person (F, 1, 18, 3). Raises UsageError for several."""
    if poses.keypoints.shape[1] > 1:
        raise UsageError(
            f"{where}: poses of {poses.keypoints.shape[1]} persons; keypoints must be F x 18 x 3 "
            "numbers, of one person"
        )
    return poses._replace(keypoints=poses.keypoints[:, 0])


def read_all_poses(path: Path) -> Poses:
    """Read a `poses.json` of one or several persons, as `parse_poses`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(
                f"{path}: {path.stat().st_size >> 20} MB, at most {MAX_BYTES >> 20} MB can be "
                "read; cut it into parts"
            )
        return parse_poses(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None


def parse_poses(data: bytes, path: str) -> Poses:
    """The contents of a `poses.json` of one or several persons: keypoints (F, P, 18, 3), in any
    order and with confidence 0 for those who are not there.

    path: names it in errors. Raises UsageError if it is damaged.
    """
    return _checked_poses(_table(data, path), path)


def _table(text: bytes, path: str) -> dict[str, Any]:
    try:
        data = json.loads(text.decode("utf-8-sig"))
    except RecursionError:
        raise UsageError(f"{path}: not a poses.json: brackets are nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{path}: not a JSON file ({error})") from None
    if not isinstance(data, dict) or data.get("format") != "openpose18":
        raise UsageError(f'{path}: not a poses.json: "format" must be "openpose18"')
    return data


def _checked_poses(data: dict[str, Any], path: str) -> Poses:
    try:
        keypoints = np.array(data["keypoints"], dtype=np.float32)
        width, height, fps = int(data["width"]), int(data["height"]), float(data["fps"])
        filled = np.array(data.get("filled") or [], dtype=int).reshape(-1, 2)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(
            f"{path}: width, height, fps or keypoints are missing or invalid ({error})"
        ) from None
    if keypoints.ndim == 3:
        keypoints = keypoints[:, None]
    if keypoints.ndim != 4 or keypoints.shape[2:] != (len(KEYPOINTS), 3) or not keypoints.size:
        raise UsageError(
            f"{path}: keypoints must be F x 18 x 3 numbers, or F x P x 18 x 3 of P persons"
        )
    if keypoints.shape[1] > MAX_PERSONS:
        raise UsageError(
            f"{path}: poses of {keypoints.shape[1]} persons; at most {MAX_PERSONS} can be followed"
        )
    if not np.isfinite(keypoints).all():
        raise UsageError(f"{path}: a keypoint is not a finite number; without one, write 0, 0, 0")
    if not 1 <= min(width, height) <= max(width, height) <= MAX_SIDE:
        raise UsageError(
            f"{path}: width and height must be 1 to {MAX_SIDE} pixels, those of the picture that "
            "the keypoints belong to"
        )
    if not MIN_FPS <= fps <= MAX_FPS:
        raise UsageError(f"{path}: fps must be {MIN_FPS:g} to {MAX_FPS:g}, it is {fps:g}")
    shown = keypoints[keypoints[..., 2] >= VISIBLE]
    if np.abs(shown[:, :2]).max(initial=0) > FARTHEST * max(width, height):
        raise UsageError(
            f"{path}: a keypoint lies far outside of the picture of {width} x {height} pixels; "
            "width and height must be those that the keypoints belong to"
        )
    filled_mask = np.zeros((len(keypoints), len(KEYPOINTS)), dtype=bool)
    inside = (filled >= 0).all(1) & (filled < filled_mask.shape).all(1)
    filled_mask[tuple(filled[inside].T)] = True
    return Poses(keypoints, width, height, fps, filled_mask)
