"""Quality findings about a clip to learn from: one line each, with what to do about it.

The thresholds were set on seven real clips of 2.6 to 6.4 s, good and mediocre ones, and on
degraded copies of them; the values of the good clips stand beside each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from animateanywhere.core.findings import Finding, Level
from animateanywhere.core.frame_size import Size
from animateanywhere.pose.continuity import jumps
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.pose.visibility import parts_shown, view_directions, view_shares
from animateanywhere.preprocessing.crop import crop_keypoints
from animateanywhere.preprocessing.quality import footage, held
from animateanywhere.preprocessing.quality.upright import rotation_findings

MIN_PART_SHARE = 0.5  # share of frames; a body part shown in fewer is learned poorly
MIN_VIEW_SHARE = 0.05  # of the frames: at least one frame of a clip to learn a view from
BLURRED = 0.3  # sharpness: sharp clips 0.60 to 1.04, blurred by 1 pixel of the base 0.3 to 0.4
BLURRED_FRAMES = 0.25  # share of frames: fast motion blurs some
DRAWN = 0.42  # plain share: a drawing 0.57, clips, photographs and rendered people up to 0.3
CUT = 0.3  # change of colors: within a shot up to 0.14, dances included; spliced clips 0.66 to 0.96
CUT_OVER = 3.0  # times the median around it: flashing light and water continue
CUTS = 3  # an edited film, which may show several persons
# Frame widths per second, of note and warning: handheld up to 0.05, following 0.16
CAMERA = (0.08, 0.35)
UNSTEADY = 0.25  # of the mask's area: good masks of a fast dance reach 0.21
UNCOVERED = 0.8  # share of joints on the mask: good masks reach at least 0.93 in every frame
BAD_MASKS = 0.1  # share of frames
EMPTY = 0.005  # share of the crop
COARSE = 128  # pixels a side, enough to measure the flicker of an outline
SMALL = 0.75  # of the base's size: below, upscaling invents most of the detail
DARK = 70.0  # luma of the person's brightest tenth: in daylight and rooms 129 to 221, backlit 45
OVEREXPOSED = 0.25  # share of the person above luma 250; a white shirt in stage light gives 0.00
STILL = 0.1  # mean joint speed in body heights per second: an almost still hiker 0.09, others 0.18


def clip_findings(
    frames: np.ndarray,
    keypoints: np.ndarray,
    boxes: np.ndarray,
    pictures: np.ndarray,
    masks: np.ndarray,
    fps: float,
) -> list[Finding]:
    """Findings about a clip to learn a person from, most severe first.

    Args:
        frames: uint8 (F, H, W, 3), the whole frames.
        keypoints: (F, 18, 3) in pixels of the frames.
        boxes: (F, 3) of the crops, see `crop.crop_boxes`.
        pictures: uint8 (F, h, w, 3), the crops.
        masks: (F, h, w) in 0..1, of the crops.
        fps: frame rate.
    """
    size = Size(pictures.shape[2], pictures.shape[1])
    inside = crop_keypoints(keypoints, boxes, size)
    blur = _blur(pictures, masks)
    found = [
        *(rotation_findings(keypoints) or _views(keypoints)), *jump_findings(keypoints, fps),
        *_parts(keypoints), *_size(boxes, size.height),
        *(blur or _drawing(frames, boxes, masks)), *_cuts(frames, fps),
        *_camera(frames, keypoints, fps), *mask_findings(masks, inside), *_held(masks, inside),
        *_light(pictures, masks), *_motion(keypoints, fps),
    ]  # fmt: skip
    return worst_first(found)


def worst_first(findings: list[Finding]) -> list[Finding]:
    """Findings sorted by severity: unusable, warning, note."""
    order = ("unusable", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.level))


def jump_findings(keypoints: np.ndarray, fps: float) -> list[Finding]:
    """A warning where the body of (F, 18, 3) jumps as no person does."""
    where = jumps(keypoints, fps)
    if not len(where):
        return []
    text = (
        f"the person's position jumps in {frames_in_words(where)}: a cut, another person or a "
        "wrong detection; cut the clip there, or correct the poses"
    )
    return [Finding("warning", "jump", text)]


def _parts(keypoints: np.ndarray) -> list[Finding]:
    shown = parts_shown(keypoints)
    missing = [name for name, share in shown.items() if share < MIN_VIEW_SHARE]
    rare = [f"{name} in {share:.0%}" for name, share in shown.items()
              if MIN_VIEW_SHARE <= share < MIN_PART_SHARE]  # fmt: skip
    out = []
    if missing:
        text = (
            f"cut off: the person's {' and '.join(missing)} not visible, so they will be invented"
        )
        out.append(Finding("warning", "parts", text))
    if rare:
        text = f"rarely visible: {', '.join(rare)} of the frames; film from farther away"
        out.append(Finding("warning", "parts", text))
    return out


def _views(keypoints: np.ndarray) -> list[Finding]:
    part = view_shares(view_directions(keypoints))
    if not any(part.values()):
        return []
    shown = ", ".join(f"{view} {share:.0%}" for view, share in part.items() if share)
    never = [view for view, share in part.items() if share < MIN_VIEW_SHARE]
    if "front" in never:
        text = f"{shown}; never from the front, so the face will be invented"
        return [Finding("warning", "views", text)]
    if never:
        text = f"{shown}; never {' or '.join(never)}, which a motion may show: it will be invented"
        return [Finding("note", "views", text)]
    return [Finding("note", "views", shown)]


def _size(boxes: np.ndarray, size: int) -> list[Finding]:
    side = float(np.median(boxes[:, 2]))
    if side >= size:
        return []
    level: Level = "warning" if side < SMALL * size else "note"
    text = (
        f"the person is small: {side:.0f} pixels for the base's {size}; come nearer or film at a "
        "higher resolution"
    )
    return [Finding(level, "size", text)]


def _blur(pictures: np.ndarray, masks: np.ndarray) -> list[Finding]:
    sharp = footage.sharpness(pictures, masks)
    known = np.isfinite(sharp)
    blurred = np.flatnonzero(sharp < BLURRED)  # NaN is not
    if not known.any() or len(blurred) < BLURRED_FRAMES * known.sum():
        return []
    text = (
        f"blurred: {len(blurred)} of {known.sum()} frames ({frame_ranges(blurred)}); "
        "use more light, a steady camera, or a clip that was not scaled up"
    )
    return [Finding("warning", "blur", text)]


def _drawing(frames: np.ndarray, boxes: np.ndarray, masks: np.ndarray) -> list[Finding]:
    if not footage.plain_share(frames, boxes, masks) > DRAWN:  # NaN is not
        return []
    text = "looks like a drawing, in plain colors: results will look painted; film a real person"
    return [Finding("warning", "drawing", text)]


def cut_frames(change: np.ndarray) -> np.ndarray:
    """The frames, int (N,), with which a new shot begins.

    change: (F - 1,) from `footage.color_changes`. Slow dissolves are not found.
    """
    usual = [
        float(np.median(np.delete(change[max(k - 4, 0) : k + 5], min(k, 4))))
        if len(change) > 1 else 0.0
        for k in range(len(change))
    ]  # fmt: skip
    return np.flatnonzero((change > CUT) & (change > CUT_OVER * np.array(usual))) + 1


def _cuts(frames: np.ndarray, fps: float) -> list[Finding]:
    at = cut_frames(footage.color_changes(frames))
    if not len(at):
        return []
    times = ", ".join(f"{frame / fps:.1f} s" for frame in at[:5])
    level: Level = "unusable" if len(at) >= CUTS else "warning"
    text = f"cut at {times}{' and more' if len(at) > 5 else ''}; give one shot without a cut"
    return [Finding(level, "cut", text)]


def _camera(frames: np.ndarray, keypoints: np.ndarray, fps: float) -> list[Finding]:
    shifts = footage.camera_shifts(frames, keypoints)
    known = shifts[np.isfinite(shifts)]
    if len(known) < len(shifts) / 4 or not len(known):
        return []
    speed = float(np.median(known)) * fps
    if speed < CAMERA[0]:
        return []
    level: Level = "note" if speed < CAMERA[1] else "warning"
    text = f"the camera moves: {speed:.0%} of the frame's width per second; use a tripod"
    return [Finding(level, "camera", text)]


def mask_findings(masks: np.ndarray, keypoints: np.ndarray) -> list[Finding]:
    """Findings about masks (F, H, W) in 0..1 of a person with keypoints (F, 18, 3) in their
    pixels."""
    empty = masks.mean((1, 2)) < EMPTY
    out = []
    if empty.any():
        level: Level = "unusable" if empty.mean() > 0.5 else "warning"
        where = frames_in_words(np.flatnonzero(empty))
        text = f"no mask of the person in {where}; correct the masks"
        out.append(Finding(level, "masks", text))
    return out + outline_findings(masks, keypoints)


def outline_findings(masks: np.ndarray, keypoints: np.ndarray) -> list[Finding]:
    """Findings as of `mask_findings`, but for frames without a mask."""
    empty = masks.mean((1, 2)) < EMPTY
    out = []
    coarse = footage.downscaled(masks, COARSE)
    keypoints = keypoints * np.array([coarse.shape[2] / masks.shape[2],
                                      coarse.shape[1] / masks.shape[1], 1])  # fmt: skip
    masks = coarse
    lost = (footage.joint_coverage(masks, keypoints) < UNCOVERED) & ~empty
    unsteady = (footage.mask_flicker(masks, keypoints) > UNSTEADY) & ~empty & ~lost
    if lost.mean() >= BAD_MASKS:
        where = frames_in_words(np.flatnonzero(lost))
        text = f"masks miss parts of the body in {where}; correct them"
        out.append(Finding("warning", "masks", text))
    if unsteady.mean() >= BAD_MASKS:
        where = frames_in_words(np.flatnonzero(unsteady))
        text = f"masks flicker in {where}; correct them"
        out.append(Finding("warning", "masks", text))
    return out


def _held(masks: np.ndarray, keypoints: np.ndarray) -> list[Finding]:
    """A warning of what the masks contain at a hand beyond an outline of a body."""
    small = footage.downscaled(masks, COARSE)
    scale = np.array([small.shape[2] / masks.shape[2], small.shape[1] / masks.shape[1], 1])
    areas = held.held_areas(small, keypoints * scale)
    found = {side: held.holding(area) for side, area in areas.items()}
    sides = [side for side, frames in found.items() if len(frames)]
    if not sides:
        return []
    where = frames_in_words(np.unique(np.concatenate([found[side] for side in sides])))
    text = (
        f"something beside the {' and the '.join(sides)} hand in {where} belongs to the "
        "masks: it will be learned as a part of the person; look at it in report.html, and correct "
        "the masks if it should not be"
    )
    return [Finding("warning", "held", text)]


def _light(pictures: np.ndarray, masks: np.ndarray) -> list[Finding]:
    bright, burnt = footage.brightness(pictures, masks)
    if bright < DARK:
        text = (
            f"the person is dark (brightest parts {bright:.0f} of 255); "
            "light the person from the front"
        )
        return [Finding("warning", "light", text)]
    if burnt > OVEREXPOSED:
        text = f"overexposed: {burnt:.0%} of the person is plain white; film with less light"
        return [Finding("warning", "light", text)]
    return []


def joint_speed(keypoints: np.ndarray, fps: float) -> float:
    """Mean speed of the visible joints of (F, 18, 3) in body heights per second; NaN where no joint
    is visible in two frames that follow each other."""
    visible = keypoints[..., 2] >= VISIBLE
    both = visible[1:] & visible[:-1]
    heights = [float(np.ptp(p[s, 1])) for p, s in zip(keypoints, visible, strict=True) if s.any()]
    if not both.any() or max(heights) <= 0:
        return float("nan")
    path = np.hypot(*np.moveaxis(np.diff(keypoints[..., :2], axis=0), -1, 0))
    means = [float(one[shown].mean()) for one, shown in zip(path, both, strict=True) if shown.any()]
    return float(np.median(means)) / max(float(np.median(heights)), 1e-3) * fps


def _motion(keypoints: np.ndarray, fps: float) -> list[Finding]:
    if not joint_speed(keypoints, fps) < STILL:  # NaN is not
        return []
    return [
        Finding(
            "note",
            "motion",
            "the person hardly moves: move and turn around, to be learned from all sides",
        )
    ]


def frame_ranges(numbers: Sequence[int] | np.ndarray, most: int = 4) -> str:
    """Frame numbers as ranges, at most `most` of them: "3 to 7, 12"."""
    runs: list[list[int]] = []
    for number in map(int, numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [f"{a}" if a == b else f"{a} to {b}" for a, b in runs]
    return ", ".join(words[:most]) + (" and more" if len(words) > most else "")


def frames_in_words(numbers: Sequence[int] | np.ndarray, most: int = 4) -> str:
    """The same with the noun: "frame 12" or "frames 3 to 7, 12"."""
    return f"{'frame' if len(numbers) == 1 else 'frames'} {frame_ranges(numbers, most)}"
