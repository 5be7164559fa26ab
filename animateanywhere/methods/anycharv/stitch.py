"""The person's square, as the network made it, back into the scene.

The network sees a square around the person at its own size; the scene keeps its own. Of the square
only the matte is laid over the scene: where the network changed something, and where the old person
stood. Off the new person's body, more must have changed: a network that is not sure of the
background changes that, too. Elsewhere every byte is the scene's. How the matte is found is ours;
the paper gives back the whole frame as its VAE decodes it (`keep="none"`). Over what a small
network drew, a collage of the picture's own limbs may be laid (`collage.Collage`), also beyond the
matte; off these, the scene is then its own, and where the old person stood is what stands behind
(`background.behind`): of what a small network draws there, more is left of that one.

Squares are int (F, 3): left, top and side in pixels of the scene, which they may leave.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import (
    binary_dilation,
    distance_transform_edt,
    gaussian_filter,
    grey_closing,
    median_filter,
)

from animateanywhere.collage.background import behind
from animateanywhere.collage.limb_collage import Collage
from animateanywhere.collage.unmasked import stand_ins, unmasked
from animateanywhere.collage.views import Views, steadied, views_of
from animateanywhere.core.frame_size import Size, square
from animateanywhere.pose.outline import body_outlines, off_body
from animateanywhere.preprocessing.crop import crop_frames, square_boxes

Keep = Literal["changed", "box", "none"]

NEAR = (6.0, 18.0)  # gray levels between which the matte rises, on the body
FAR = (60.0, 90.0)  # and off it: a cape or a bag there still comes along
BODY = 0.6  # of the widths of a generous outline (`pose.outline`): holds 0.98 of rendered people
FALL = 0.2  # of the trunk's length: the width around the body in which NEAR becomes FAR
CORE = 0.3  # of the widths of that outline: surely the body
BORDER = 0.012  # of the square's side: how inexact the border of a mask is
SAME = 25.0  # gray levels: a smaller difference is what the network left as it was
BLUR = 0.012  # of the square's side: the deviation that a difference is blurred with
OLD = 0.03  # of the square's side, by which the old person's mask is grown
FEATHER = 0.015  # of the square's side: the width of soft borders
CLOSED = 0.03  # of the square's side: the width of gaps that are closed
RING = 0.04  # of the square's side: the width of the ring in which colors are compared
OTHERS = 0.01  # of the square's side, by which the masks of others are grown
ENOUGH = 48  # pixels of the ring; colors of fewer are not matched
GAIN = (0.8, 1.25)  # limits of a match of contrast
PERSON = 0.5  # of a mask: more is the person


class Patches(NamedTuple):
    """How squares (F, S, S, 3) are laid over a scene.

    matte float32 (F, S, S) in 0..1. region bool (F, S, S), beyond which nothing may change.
    free bool (F, S, S), where limbs may be laid: not on others, or on what is in front. gone
    (F, S, S) in 0..1, where the old person stood; behind uint8 (F, S, S, 3), the background there,
    and 0 elsewhere. keep: as in `patches`. poses (F, 18, 3) of the new person and views, steadied,
    in pixels of the squares. gain and offset (3,) match the colors to the scene's.
    """

    matte: np.ndarray
    region: np.ndarray
    free: np.ndarray
    gone: np.ndarray
    behind: np.ndarray
    keep: Keep
    poses: np.ndarray
    views: Views
    gain: np.ndarray
    offset: np.ndarray

    def rows(self, some: slice) -> Patches:
        """Those of some frames."""
        return self._replace(
            matte=self.matte[some], region=self.region[some], free=self.free[some],
            gone=self.gone[some], behind=self.behind[some], poses=self.poses[some],
            views=self.views.rows(some),
        )  # fmt: skip

    def matched(self, made: np.ndarray) -> np.ndarray:
        """Squares uint8 (..., 3) with the scene's colors."""
        out = made * self.gain.astype(np.float32) + self.offset.astype(np.float32)
        return (out + 0.5).clip(0, 255).astype(np.uint8)


def cut_out(frames: np.ndarray, squares: np.ndarray, side: int) -> np.ndarray:
    """The squares (F, 3) of frames (F, H, W[, 3]) uint8, scaled to `side`; beyond a frame its edge
    is repeated."""
    return crop_frames(frames, square_boxes(squares), square(side))


def patches(
    made: np.ndarray, plain: np.ndarray, scene: np.ndarray, squares: np.ndarray,
    region: np.ndarray, old: np.ndarray, others: np.ndarray, poses: np.ndarray,
    keep: Keep = "changed", frame: Size | None = None,
) -> Patches:  # fmt: skip
    """The patches of consecutive squares.

    Args:
        made: uint8 (F, S, S, 3), what the network made, decoded.
        plain: uint8 (F, S, S, 3), the scene encoded and decoded: what differs from it is meant.
        scene: uint8 (F, S, S, 3), the scene itself.
        squares: int (F, 3), left, top and side of each in pixels of the scene.
        region: (F, S, S) in 0..1, the box in which the person may be.
        old, others: (F, S, S) in 0..1, masks of the old person, and of everybody else.
        poses: (F, 18, 3), keypoints of the new person in pixels of the squares.
        keep: which pixels stay the scene's own: all that did not change, all outside of the box, or
            none of the square.
        frame: of the scene; None: no square leaves it.
    """
    side = made.shape[1]
    stood, someone = _grown(old, OLD * side), _grown(others, OTHERS * side)
    soft = max(FEATHER * side / 2, 0.5)
    unsure = unmasked(stood, poses)
    instead = stand_ins(stood, poses)
    stood |= instead
    gone = gaussian_filter(stood.astype(np.float32), (0, soft, soft))
    if frame is not None:
        unsure |= _beyond(squares, side, frame)
    empty = behind(scene, squares, stood | someone, unsure) * (gone > 0)[..., None]
    steady = steadied(poses)
    common = gone, empty, keep, steady, views_of(steady, poses)
    if keep == "none":
        whole = np.ones(made.shape[:3], np.float32)
        return Patches(whole, whole > 0, whole > 0, *common, np.ones(3), np.zeros(3))
    allowed = free = (region > 0) & ~someone
    if keep == "box":
        matte = allowed.astype(np.float32)
    else:
        # Without a mask nothing tells who stands in front
        lacking = instead.any((1, 2), keepdims=True)
        front = _in_front(made, plain, np.where(lacking, stood, old), steady)
        allowed = allowed & ~front
        free = ~(someone | (front & (region > 0)))  # beyond it, the network left everything
        matte = _changed(made, plain, stood, off_body(poses, side, side, BODY, FALL))
    matte = np.stack([_soft(*both, side) for both in zip(matte, allowed, strict=True)])
    if keep == "changed":
        steadier = median_filter(matte, size=(3, 1, 1), mode="nearest")
        # The old person goes in each frame: a fast limb is elsewhere in those before and after
        matte = np.maximum(steadier, np.minimum(matte, gone))
    return Patches(matte, allowed, free, *common, *_color_match(plain, scene, matte))


def changed_share(made: np.ndarray, plain: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Share 0..1 (F,) of the region that the network changed, whatever is laid over the scene.

    Arguments as for `patches`.
    """
    place = region > 0
    changed = np.stack([_rise(*both) > PERSON for both in zip(made, plain, strict=True)])
    share: np.ndarray = (changed & place).sum((1, 2)) / np.maximum(place.sum((1, 2)), 1)
    return share


def paste(
    frame: np.ndarray, where: np.ndarray, made: np.ndarray, patch: Patches, index: int,
    collage: Collage | None = None, mark: tuple[int, int, int] | None = None,
) -> np.ndarray:  # fmt: skip
    """A frame (H, W, 3) uint8 of the scene with what was made, (S, S, 3) uint8, in its square
    `where` (3,), by patch `index`. collage: is laid over what was made, at the scene's own size.
    mark: a color in place of all that is not the scene's own.

    Beyond matte and limbs the frame's bytes stay as they are.
    """
    left, top, side = (int(number) for number in where)
    height, width = frame.shape[:2]
    rows = slice(max(-top, 0), max(min(side, height - top), 0))
    columns = slice(max(-left, 0), max(min(side, width - left), 0))

    def enlarged(plane: np.ndarray, resample: Image.Resampling) -> np.ndarray:
        """What of a plane of the square is in these rows and columns, float32 (h, w, 1 or 3)."""
        large = Image.fromarray(plane).resize((side, side), resample)
        part = np.asarray(large)[rows, columns].astype(np.float32)
        return part.reshape(*part.shape[:2], 3 if part.ndim == 3 else 1)

    bilinear, bicubic = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
    weight = enlarged(patch.matte[index], bilinear).clip(0, 1)
    weight *= enlarged(patch.region[index], Image.Resampling.NEAREST)
    out = frame.copy()
    if not weight.any():
        return out
    view, limbs = patch.views, None  # coverage (h, w, 1) and color times coverage of limbs
    if collage is not None:
        larger = side / len(made)
        points = patch.poses[index] * np.array([larger, larger, 1], np.float32)
        layer = collage.layer(points, square(side), view.one(index, larger))
        place = patch.free[index]
        free = enlarged(_soft(place.astype(np.float32), place, len(made)), bilinear)
        limbs = [part[rows, columns] * np.maximum(weight, free) for part in layer]
    busy = weight if limbs is None else weight + limbs[0]
    down, across = (np.flatnonzero(busy.any((axis, 2))) for axis in (1, 0))
    part = slice(down[0], down[-1] + 1), slice(across[0], across[-1] + 1)
    weight = weight[part]
    rows, columns = (
        slice(whole.start + some.start, whole.start + some.stop)
        for whole, some in zip((rows, columns), part, strict=True)
    )
    own = out[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
    drawn = enlarged(patch.matched(made), bicubic)
    own_share = np.zeros_like(weight)  # of the scene in what is laid over it
    if collage is not None:
        pose, seen = patch.poses[index], view.one(index, 1.0)
        beside = collage.beside(pose, collage.layer(pose, square(len(made)), seen)[0], seen)
        gone, off = (enlarged(one, bilinear) for one in (patch.gone[index], beside))
        if patch.keep != "changed":  # more of what the network drew is asked for
            off *= gone
        empty = own + gone * (enlarged(patch.behind[index], bicubic) - own)
        drawn += off * (empty - drawn)
        own_share = off * (1 - gone)
    if mark is not None:
        drawn = own + (1 - own_share) * (np.array(mark, np.float32) - own)
    shown = own + weight * (drawn - own)
    if limbs is not None:
        cover, color = (one[part] for one in limbs)
        shown = shown * (1 - cover) + (
            color if mark is None else cover * np.array(mark, np.float32)
        )
    own[:] = (shown + 0.5).clip(0, 255).astype(np.uint8)
    return out


def _beyond(squares: np.ndarray, side: int, frame: Size) -> np.ndarray:
    """What of squares (F, 3) is beyond the frame, bool (F, side, side): its edge, repeated."""
    middle = (np.arange(side) + 0.5) / side
    x, y = (squares[:, [axis]] + middle * squares[:, [2]] for axis in (0, 1))  # (F, side)
    return ((y < 0) | (y > frame.height))[:, :, None] | ((x < 0) | (x > frame.width))[:, None]


def _in_front(
    made: np.ndarray, plain: np.ndarray, old: np.ndarray, poses: np.ndarray
) -> np.ndarray:
    """What stands in front of the person, bool (F, S, S): it is where the body is, not in the old
    person's mask, and the network left it as it was. Of rendered people 0.95 to 1.0 of it is in
    front of the new person as well. Arguments as for `patches`."""
    side = made.shape[1]
    hidden = body_outlines(poses, side, side, CORE) & ~_grown(old, BORDER * side)
    if not hidden.any():
        return hidden
    apart = np.abs(made.astype(np.float32) - plain).mean(-1)
    kept = gaussian_filter(apart, (0, BORDER * side / 2, BORDER * side / 2)) < SAME
    front: np.ndarray = hidden & median_filter(hidden & kept, size=(3, 1, 1), mode="nearest")
    return front


def _changed(made: np.ndarray, plain: np.ndarray, stood: np.ndarray, off: np.ndarray) -> np.ndarray:
    """Where something was meant to change, float32 (F, S, S) in 0..1, and where the old person
    stood, bool (F, S, S); nothing in frames that did not change at all. off: of `off_body`."""
    side = made.shape[1]
    gap = 2 * round(CLOSED * side / 2) + 1
    out = np.zeros(made.shape[:3], np.float32)
    for index in range(len(made)):
        share = _rise(made[index], plain[index], off[index])
        if share.any():
            smooth = share * share * (3 - 2 * share)
            out[index] = grey_closing(np.maximum(smooth, stood[index]), (gap, gap))
    return out


def _rise(made: np.ndarray, plain: np.ndarray, off: np.ndarray | float = 0.0) -> np.ndarray:
    """How much a square (S, S, 3) was changed, float32 (S, S) in 0..1. off: (S, S), as of
    `off_body`."""
    apart = np.abs(made.astype(np.float32) - plain).mean(-1)
    blurred = gaussian_filter(apart, BLUR * len(made))
    least, most = (near + (far - near) * off for near, far in zip(NEAR, FAR, strict=True))
    share: np.ndarray = ((blurred - least) / (most - least)).clip(0, 1)
    return share


def _soft(matte: np.ndarray, allowed: np.ndarray, side: int) -> np.ndarray:
    """A matte (S, S) with soft borders, which falls to 0 at those of the region."""
    width = max(FEATHER * side, 1)
    soft: np.ndarray = gaussian_filter(matte, width / 2).astype(np.float32)
    if allowed.all():
        return soft
    inwards = distance_transform_edt(allowed) / (2 * width)
    return np.minimum(soft, inwards.clip(0, 1)).astype(np.float32)


def _grown(masks: np.ndarray, reach: float) -> np.ndarray:
    """Masks (F, S, S) in 0..1, dilated by `reach` pixels, as bool."""
    return np.stack([
        distance_transform_edt(mask <= PERSON) <= reach if (mask > PERSON).any()
        else np.zeros(mask.shape, dtype=bool)
        for mask in masks
    ])  # fmt: skip


def _color_match(
    plain: np.ndarray, scene: np.ndarray, matte: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset (3,) by which mean and contrast of the scene differ from those of `plain`
    around the matte: the tint that the VAE gives, which would show as a frame."""
    rounds = max(round(RING * plain.shape[1]), 1)
    changes = []
    for cover, coded, true in zip(matte, plain, scene, strict=True):
        ring = binary_dilation(cover > 0, iterations=rounds) & (cover == 0)
        if cover.any() and ring.sum() >= ENOUGH:
            a, b = coded[ring].astype(np.float64), true[ring].astype(np.float64)
            gain = (b.std(0) / np.maximum(a.std(0), 1e-6)).clip(*GAIN)
            changes.append([gain, b.mean(0) - gain * a.mean(0)])
    if not changes:
        return np.ones(3), np.zeros(3)
    # One change for all of the frames: the tint is the VAE's, and must not flicker
    gain, offset = np.median(changes, axis=0)
    return gain, offset
