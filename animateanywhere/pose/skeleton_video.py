"""Recovery of keypoints from skeleton videos: which palette they use, and where the joints are."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from scipy.ndimage import find_objects, label

from animateanywhere.pose.skeleton_tree import HUES, SUPPORTED, find_skeletons

Kind = Literal["openpose18", "dwpose", "foreign", "densepose"]

DOTTED = 0.03  # share of white in the drawn pixels, for a face drawn by DWPose
DARK = 40  # brightest channel of black after H.264
SHADED = 0.8 * 255  # limbs are drawn at 0.6 of their color, joints at 1.0
UNSHADED = 0.4  # share of the darker pixels of a drawing whose limbs have the full color too
ROUND = 1.5  # longer over shorter spread of a region, up to which it is a disc and no limb
FAINT = 80  # brightest channel of the darkest color that is drawn
GRAY = 0.4  # darkest over brightest channel, beyond which a color has no hue
VIRIDIS = np.array([
    (68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142),
    (31, 158, 137), (53, 183, 121), (109, 205, 89), (180, 222, 44), (253, 231, 37),
], dtype=np.float32)  # fmt: skip
SAMPLED = 8  # frames of a clip that are looked at to recognize it
LIMBS_SHOWN = 5  # limbs that show their color in a drawn skeleton, on average over the frames
# On a photograph, whose colors may resemble some limbs: limbs, and the share of frames with them
LIMBS_ON_PHOTO, FRAMES_ON_PHOTO = 8, 0.5
# Pixels of the purest colors; their share for a hue of the palette to count; hues that must
PURE, PURE_SHARE, PURE_HUES = 0.15, 2e-4, 9


class Drawing(NamedTuple):
    """What frames show: the kind of rendering, None if it is none; whether its red and blue are
    exchanged; and the mean number of limbs in the color that belongs to them."""

    kind: Kind | None
    exchanged: bool = False
    limbs: float = 0.0


def recognize(frames: np.ndarray) -> Kind | None:
    """The kind of rendering of frames, as of `inspect`."""
    return inspect(frames).kind


def inspect(frames: np.ndarray) -> Drawing:
    """Recognize the kind of rendering of frames, uint8 (F, H, W, 3); None: not a skeleton video.

    "openpose18": body in the OpenPose palette, also with red and blue exchanged, as OpenCV writes
    an RGB picture, and on any background. "dwpose": with white face dots too. "foreign": a skeleton
    in other colors. "densepose": a body-part map in the viridis colors.
    """
    count = min(len(frames), SAMPLED)
    picked = frames[np.linspace(0, len(frames) - 1, count).astype(int)]
    pixels = picked[:, ::2, ::2].reshape(-1, 3)
    curve = np.concatenate([
        np.linspace(a, b, 8) for a, b in pairwise(VIRIDIS)
    ])  # fmt: skip
    sample = pixels[:: max(len(pixels) // 20_000, 1)].astype(np.float32)
    nearest = np.abs(sample[:, None] - curve).max(-1).min(-1)
    purple = np.abs(sample - VIRIDIS[0]).max(-1) < 24
    if (nearest < 24).mean() > 0.9 and purple.mean() > 0.2:
        return Drawing("densepose")

    lit = (picked[..., 0] > DARK) | (picked[..., 1] > DARK) | (picked[..., 2] > DARK)
    if not 0.002 < lit.mean() < 0.25:
        return _on_picture(picked)
    drawn = picked[lit].astype(np.float32)
    bright = drawn[drawn.max(-1) > 96]  # darker pixels are blur
    if len(bright) < 20:
        return Drawing(None)
    high, low = bright.max(-1), bright.min(-1)
    colored, white = low < 0.35 * high, low > 190
    if (colored | white).mean() < 0.8 or colored.mean() < 0.3:
        return _on_picture(picked)
    share = np.bincount(_hue_index(bright[colored]), minlength=HUES) / colored.sum()
    if (share > 0.01).sum() < 8:
        return Drawing("foreign")
    kind: Kind = "dwpose" if white.mean() > DOTTED else "openpose18"
    exchanged, limbs = _channel_order(picked, kind)
    if limbs.mean() < LIMBS_SHOWN:
        return Drawing("foreign")
    return Drawing(kind, exchanged, float(limbs.mean()))


def recover(frames: np.ndarray) -> np.ndarray:
    """Recover the keypoints of OpenPose or DWPose renderings of one person, the first of several.

    Returns:
        float32 (F, 18, 3), as of `recover_people`.
    """
    nobody = np.zeros((1, HUES, 3), np.float32)
    found = recover_people(frames, inspect(frames))
    return np.stack([np.concatenate([one, nobody])[0] for one in found])


def recover_people(frames: np.ndarray, drawing: Drawing) -> list[np.ndarray]:
    """Recover the keypoints of all persons in OpenPose or DWPose renderings.

    Joints are discs, each in its own color; where hands or limbs cover or resemble a disc, the
    limbs that lead to it decide (best tree of joints and limbs). Drawn hands and faces are ignored.

    Args:
        frames: uint8 (F, H, W, 3).
        drawing: of `inspect`.

    Returns:
        For each frame float32 (N, 18, 3): x, y in pixels; confidence 1 for a disc, 0.8 for a limb's
        end, 0 for neither.
    """
    dotted = drawing.kind == "dwpose"
    return [_skeletons(frame[..., ::-1] if drawing.exchanged else frame, dotted)[..., :3]
            for frame in frames]  # fmt: skip


def _on_picture(picked: np.ndarray) -> Drawing:
    """As of `inspect`, of frames (F, H, W, 3) that are not black behind a skeleton."""
    if (_pure_hues(picked) >= PURE_HUES).mean() < FRAMES_ON_PHOTO:
        return Drawing(None)
    exchanged, limbs = _channel_order(picked, "openpose18")
    if (limbs >= LIMBS_ON_PHOTO).mean() < FRAMES_ON_PHOTO:
        return Drawing(None)
    return Drawing("openpose18", exchanged, float(limbs.mean()))


def _pure_hues(frames: np.ndarray) -> np.ndarray:
    """The number (F,) of the palette's hues that some pixels of each frame show purely."""
    out = []
    for frame in frames:
        pixels = frame.reshape(-1, 3)
        high, low = pixels.max(-1), pixels.min(-1)
        pure = pixels[(high > FAINT) & (low < PURE * high)].astype(np.float32)
        counts = np.bincount(_hue_index(pure), minlength=HUES)
        out.append((counts > PURE_SHARE * len(pixels)).sum())
    return np.array(out)


def _channel_order(picked: np.ndarray, kind: Kind) -> tuple[bool, np.ndarray]:
    """Whether frames show more limbs in their own colors with red and blue exchanged; and how many
    then in each of every second frame."""
    orders = [np.array([_limbs_shown(frame[..., ::step], kind) for frame in picked[::2]])
              for step in (1, -1)]  # fmt: skip
    exchanged = bool(orders[1].sum() > orders[0].sum())
    return exchanged, orders[int(exchanged)]


def _limbs_shown(frame: np.ndarray, kind: Kind) -> int:
    return int((_skeletons(frame, kind == "dwpose")[..., 3] >= SUPPORTED).sum(1).max(initial=0))


def _hue_index(colors: np.ndarray) -> np.ndarray:
    """Palette index (...) of the nearest hue of RGB colors (..., 3)."""
    high, low = colors.max(-1), colors.min(-1)
    spread = np.maximum(high - low, 1e-6)
    r, g, b = np.moveaxis(colors, -1, 0)
    sixth = np.where(
        high == r, (g - b) / spread, np.where(high == g, 2 + (b - r) / spread, 4 + (r - g) / spread)
    )
    return np.round(sixth * 60 / (360 / HUES)).astype(int) % HUES


def _skeletons(frame: np.ndarray, dotted: bool) -> np.ndarray:
    """(N, 18, 4) of one uint8 frame (H, W, 3), as of `find_skeletons`."""
    drawn = (frame.max(-1) > DARK) & (frame.min(-1) < GRAY * frame.max(-1))
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    if not len(rows):
        return np.zeros((0, HUES, 4), dtype=np.float32)
    left, top = int(columns[0]), int(rows[0])
    frame = frame[top : rows[-1] + 1, left : columns[-1] + 1]
    ys, xs = np.nonzero(drawn[top : rows[-1] + 1, left : columns[-1] + 1])
    colors = frame[ys, xs].astype(np.float32)
    high, hue = colors.max(-1), _hue_index(colors)
    joints, limbs = np.full((2, *frame.shape[:2]), -1, dtype=np.int8)
    joints[ys, xs] = np.where(high >= SHADED, hue, -1)
    limbs[ys, xs] = np.where((high < SHADED) & (high > FAINT), hue, -1)
    pure = (colors.min(-1) < PURE * high) & (high > FAINT)
    if (high[pure] < SHADED).mean() < UNSHADED:
        limbs[ys, xs] = np.where(high > FAINT, hue, -1)
        joints, limbs = _by_shape(limbs)
    people = np.stack(find_skeletons(joints, limbs, dotted))
    people[..., :2] += np.where(people[..., 2:3] > 0, (left, top), 0)
    return people[(people[..., 2] > 0).any(1)]


def _by_shape(colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joints and limbs, int8 (H, W) as of `find_skeletons`, of numbered colors that both share: a
    round region is a joint. A disc that touches the limb of its color counts to that."""
    joints, limbs = np.full((2, *colors.shape), -1, dtype=np.int8)
    for color in range(HUES):
        regions, _ = label(colors == color, np.ones((3, 3)))
        for number, place in enumerate(find_objects(regions), start=1):
            inside = regions[place] == number
            points = np.stack(np.nonzero(inside), 1).astype(float)
            if len(points) < 4:
                continue
            spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
            disc = spread[0] <= ROUND * spread[1]
            (joints if disc else limbs)[place][inside] = color
    return joints, limbs
