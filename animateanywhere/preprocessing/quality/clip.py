"""What is good and bad about a clip to learn from: one line each, with what to do.

The limits were set on seven real clips of 2.6 to 6.4 s, good and mediocre ones, and on damaged
copies of them; the figure of the good ones stands beside each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from animateanywhere.core.findings import Finding, Level
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.pose.visibility import parts_shown, view_directions, view_shares
from animateanywhere.preprocessing.crop import crop_keypoints
from animateanywhere.preprocessing.quality import footage

MIN_PART_SHARE = 0.5  # share of frames; a part that fewer show is learned from little
MIN_VIEW_SHARE = 0.05  # a twentieth of a clip is at least one frame to learn a view from
BLURRED = 0.3  # sharpness: sharp clips 0.60 to 1.04, blurred by 1 pixel of the base 0.3 to 0.4
BLURRED_FRAMES = 0.25  # share of frames: now and then fast motion blurs
DRAWN = 0.42  # plain share: a drawing 0.57, clips, photographs and rendered people up to 0.3
CUT = 0.3  # change of colors: within a shot up to 0.14, dances included; spliced clips 0.66 to 0.96
CUT_OVER = 3.0  # times what is usual around: flashing light and water go on
CUTS = 3  # so many cuts make an edited film, of which nobody knows whom it shows
CAMERA = (
    0.08,
    0.35,
)  # frame widths a second, of note and warning: handheld up to 0.05, following 0.16
UNSTEADY = 0.25  # of the mask's area: good masks of a fast dance reach 0.21
UNCOVERED = 0.8  # share of joints on the mask: good ones reach 0.93 and more in every frame
BAD_MASKS = 0.1  # share of frames
EMPTY = 0.005  # share of the square
COARSE = 128  # pixels a side, enough to tell a steady outline from another
SMALL = 0.75  # of the base's pixels: below, it is more guess than picture
DARK = (
    70.0  # luma of the person's brightest tenth: in daylight and rooms 129 to 221, against light 45
)
OVEREXPOSED = 0.25  # share of the person above luma 250; a white shirt in stage light gives 0.00
STILL = 0.1  # mean path of joints in body heights a second: an almost still hiker 0.09, others 0.18


def clip_findings(
    frames: np.ndarray,
    keypoints: np.ndarray,
    squares: np.ndarray,
    pictures: np.ndarray,
    masks: np.ndarray,
    fps: float,
) -> list[Finding]:
    """Findings about a clip to learn a person from, worst first.

    Args:
        frames: uint8 (F, H, W, 3), whole pictures. keypoints: (F, 18, 3) in their pixels.
        squares: (F, 3), where `pictures`, uint8 (F, S, S, 3), were cut out, see `crop.squares`.
        masks: (F, S, S) in 0..1, of the pictures.
        fps: of the frames.
    """
    size = pictures.shape[1]
    inside = crop_keypoints(keypoints, squares, size)
    blur = _blur(pictures, masks)
    found = [
        *_parts(keypoints), *_views(keypoints), *_size(squares, size),
        *(blur or _drawing(frames, squares, masks)), *_cuts(frames, fps),
        *_camera(frames, keypoints, fps), *_masks(masks, inside), *_light(pictures, masks),
        *_motion(keypoints, fps),
    ]  # fmt: skip
    return worst_first(found)


def worst_first(findings: list[Finding]) -> list[Finding]:
    order = ("unusable", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.level))


def _parts(keypoints: np.ndarray) -> list[Finding]:
    shown = parts_shown(keypoints)
    missing = [name for name, share in shown.items() if share < MIN_VIEW_SHARE]
    seldom = [f"{name} in {share:.0%}" for name, share in shown.items()
              if MIN_VIEW_SHARE <= share < MIN_PART_SHARE]  # fmt: skip
    out = []
    if missing:
        text = f"cut off: the person's {' and '.join(missing)} not seen, so made up later"
        out.append(Finding("warning", "parts", text))
    if seldom:
        text = f"seldom seen: {', '.join(seldom)} of the frames; step back, or expect them vague"
        out.append(Finding("warning", "parts", text))
    return out


def _views(keypoints: np.ndarray) -> list[Finding]:
    part = view_shares(view_directions(keypoints))
    if not any(part.values()):
        return []
    told = ", ".join(f"{view} {share:.0%}" for view, share in part.items() if share)
    never = [view for view, share in part.items() if share < MIN_VIEW_SHARE]
    if "front" in never:
        text = f"seen as {told}; never from the front: the face is made up"
        return [Finding("warning", "views", text)]
    if never:
        text = f"seen as {told}; {' and '.join(never)} never: made up where a motion turns that way"
        return [Finding("note", "views", text)]
    return [Finding("note", "views", f"seen as {told}")]


def _size(squares: np.ndarray, size: int) -> list[Finding]:
    side = float(np.median(squares[:, 2]))
    if side >= size:
        return []
    level: Level = "warning" if side < SMALL * size else "note"
    text = (
        f"the person is small: {side:.0f} pixels for {size}; come nearer or film at a higher size"
    )
    return [Finding(level, "size", text)]


def _blur(pictures: np.ndarray, masks: np.ndarray) -> list[Finding]:
    sharp = footage.sharpness(pictures, masks)
    told = np.isfinite(sharp)
    blurred = np.flatnonzero(sharp < BLURRED)  # NaN is not
    if not told.any() or len(blurred) < BLURRED_FRAMES * told.sum():
        return []
    text = (
        f"blurred: {len(blurred)} of {told.sum()} frames ({frame_ranges(blurred)}); "
        "more light, a steady camera, or a clip that was not scaled up"
    )
    return [Finding("warning", "blur", text)]


def _drawing(frames: np.ndarray, squares: np.ndarray, masks: np.ndarray) -> list[Finding]:
    if not footage.plain_share(frames, squares, masks) > DRAWN:  # NaN is not
        return []
    text = "looks drawn, in plain colors: what is learned will look painted; film a person"
    return [Finding("warning", "drawing", text)]


def _cuts(frames: np.ndarray, fps: float) -> list[Finding]:
    change = footage.color_changes(frames)
    usual = [
        float(np.median(np.delete(change[max(k - 4, 0) : k + 5], min(k, 4))))
        if len(change) > 1 else 0.0
        for k in range(len(change))
    ]  # fmt: skip
    at = np.flatnonzero((change > CUT) & (change > CUT_OVER * np.array(usual))) + 1
    if not len(at):
        return []
    times = ", ".join(f"{frame / fps:.1f} s" for frame in at[:5])
    level: Level = "unusable" if len(at) >= CUTS else "warning"
    text = f"cut at {times}{' and more' if len(at) > 5 else ''}; give one shot without a cut"
    return [Finding(level, "cut", text)]


def _camera(frames: np.ndarray, keypoints: np.ndarray, fps: float) -> list[Finding]:
    shifts = footage.camera_shifts(frames, keypoints)
    told = shifts[np.isfinite(shifts)]
    if len(told) < len(shifts) / 4 or not len(told):
        return []
    speed = float(np.median(told)) * fps
    if speed < CAMERA[0]:
        return []
    level: Level = "note" if speed < CAMERA[1] else "warning"
    text = f"the camera moves: {speed:.0%} of the frame's width a second; put it on something"
    return [Finding(level, "camera", text)]


def _masks(masks: np.ndarray, keypoints: np.ndarray) -> list[Finding]:
    empty = masks.mean((1, 2)) < EMPTY
    out = []
    if empty.any():
        level: Level = "unusable" if empty.mean() > 0.5 else "warning"
        text = f"no outline of the person in frames {frame_ranges(np.flatnonzero(empty))}; mend the masks"
        out.append(Finding(level, "masks", text))
    coarse = footage.downscaled(masks, COARSE)
    keypoints = keypoints * np.array([coarse.shape[1] / masks.shape[1]] * 2 + [1])
    masks = coarse
    lost = (footage.joint_coverage(masks, keypoints) < UNCOVERED) & ~empty
    unsteady = (footage.mask_flicker(masks, keypoints) > UNSTEADY) & ~empty & ~lost
    if lost.mean() >= BAD_MASKS:
        text = f"outlines miss parts of the body in frames {frame_ranges(np.flatnonzero(lost))}; mend them"
        out.append(Finding("warning", "masks", text))
    if unsteady.mean() >= BAD_MASKS:
        text = f"outlines flicker in frames {frame_ranges(np.flatnonzero(unsteady))}; mend them"
        out.append(Finding("warning", "masks", text))
    return out


def _light(pictures: np.ndarray, masks: np.ndarray) -> list[Finding]:
    bright, burnt = footage.brightness(pictures, masks)
    if bright < DARK:
        text = f"the person is dark (brightest parts {bright:.0f} of 255); light it from the front"
        return [Finding("warning", "light", text)]
    if burnt > OVEREXPOSED:
        text = f"overexposed: {burnt:.0%} of the person is plain white; film with less light"
        return [Finding("warning", "light", text)]
    return []


def _motion(keypoints: np.ndarray, fps: float) -> list[Finding]:
    seen = keypoints[..., 2] >= VISIBLE
    both = seen[1:] & seen[:-1]
    heights = [float(np.ptp(p[s, 1])) for p, s in zip(keypoints, seen, strict=True) if s.any()]
    if not both.any() or max(heights) <= 0:
        return []
    path = np.hypot(*np.moveaxis(np.diff(keypoints[..., :2], axis=0), -1, 0))
    means = [float(one[shown].mean()) for one, shown in zip(path, both, strict=True) if shown.any()]
    speed = float(np.median(means)) / max(float(np.median(heights)), 1e-3) * fps
    if speed >= STILL:
        return []
    return [
        Finding(
            "note",
            "motion",
            "the person hardly moves: turn around and move, to be learned from all sides",
        )
    ]


def frame_ranges(numbers: Sequence[int] | np.ndarray, most: int = 4) -> str:
    """Frame numbers in few words: "3 to 7, 12"."""
    runs: list[list[int]] = []
    for number in map(int, numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [f"{a}" if a == b else f"{a} to {b}" for a, b in runs]
    return ", ".join(words[:most]) + (" and more" if len(words) > most else "")
