"""A collage: the picture's own limbs, turned onto the bones of the new person, over what a small
network drew.

In the picture's pixels are prints, faces and firm edges, which that network does not draw; it draws
joints, hair and backs, which limbs lack. AnyDoor (Chen et al. 2024, arXiv 2307.09481) shows its
network such a collage of the object's details; ours learned nothing from it (docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import grey_closing, grey_erosion

from animateanywhere.collage.bending import Laid, Piece, bend_of, bent, is_folded, shown_at
from animateanywhere.collage.limbs import (
    BONES,
    HEAD,
    LEGS,
    OTHER_SIDE,
    TORSO,
    Ends,
    Limb,
    back_of,
    ends_of,
    is_seen,
    length_of,
    limb_of,
    limbs_of,
    torso_of,
)
from animateanywhere.collage.views import (
    FACE,
    FLAT,
    View,
    completed,
    shows_face,
    shows_torso,
    turned_of,
)
from animateanywhere.core.frame_size import Size
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.pose.outline import off_body

FRONT, DEEP = 0.85, 0.6  # of torsos: shoulders from the front, and depth as a share of breadth
AWAY = 0.15  # so far beyond the side, the torso of a picture from the front is laid mirrored
LEANING = 0.35  # of the direction from neck to head: the rest is that of the torso
STRETCHED = 2.5  # times its width, at most: a limb that pointed at the camera shows little of it
RIM = 0.004  # of a picture's side: an edge of the mask, which may show the picture's background
SMALLEST = 8  # pixels of a torso
THIGH = 0.6  # of the way to the knees: there legs are apart, and a skirt is not
LAID = (0.3, 0.05)  # of a generous outline's widths (`pose.outline`), and of trunks: the body, off
# which what the network drew is not shown; limbs are shown where they are wider
CORE = 0.12  # of these widths: there the network is shown where limbs lack something
HAIR = 0.6  # the same of a head that no picture shows
LEAST = 0.02  # of a slit: less is not filled
SLIT = 0.06  # of the torso's length: what is narrower between limbs is filled
CHAINS = ((0, 2), (1, 3), (4,), (5,), (6, 8), (7, 9))  # of `BONES`: those that bend as one
BENDS = 0.12  # of the torso's length: on both sides of a joint, what bends
SHARP = 1.9  # radians: a joint that is bent otherwise than in the picture by more is cut
APART = 0.35  # of the torso's length: so far from a joint, a torso is not what a limb begins at


class Cutout(NamedTuple):
    """A person in a picture: uint8 (h, w, 3), the mask (h, w) in 0..1, and the pose (18, 3) in its
    pixels."""

    picture: np.ndarray
    mask: np.ndarray
    pose: np.ndarray

    def halved(self) -> Cutout:
        """At half the size."""
        width, height = (max(side // 2, 1) for side in self.mask.shape[::-1])
        small = Image.fromarray(self.picture).resize((width, height), Image.Resampling.BOX)
        mask = Image.fromarray(self.mask.astype(np.float32))
        scale = np.array([width / self.mask.shape[1], height / self.mask.shape[0], 1], np.float32)
        return Cutout(
            np.asarray(small), np.asarray(mask.resize((width, height), Image.Resampling.BOX)),
            self.pose * scale,
        )  # fmt: skip


class _Body(NamedTuple):
    """A pose with the limb of each bone, in one of the sizes of a cut-out."""

    pose: np.ndarray
    limbs: list[Limb | None]
    whole: Limb | None  # the person, uncut
    view: View


class _Found(NamedTuple):
    """A limb for a bone, and the body that it is of."""

    body: _Body
    number: int  # of the bone
    piece: Piece


class Collage:
    """The limbs of one person in any pose.

    Each frame has the limbs of that picture which is turned most alike; those that it does not show
    are of another one, or of the other side. Of a person who is turned away from all pictures, the
    torso is laid mirrored, and the head, which would be a face, is not. skirt: whether something is
    between the legs in a picture, or may be, as none shows them.
    """

    def __init__(self, cutouts: Sequence[Cutout]) -> None:
        self.sizes: list[list[_Body]] = [[] for _ in cutouts]  # each half the one before
        for sizes, one in zip(self.sizes, cutouts, strict=True):
            width = 2 * int(RIM * len(one.mask)) + 1
            inner = grey_erosion(one.mask, (width, width))
            cut = one._replace(pose=completed(one.pose), mask=inner)
            while shows_torso(cut.pose[None]) and (not sizes or torso_of(cut.pose) >= SMALLEST):
                view = View(turned_of(cut.pose), shows_face(one.pose), torso_of(cut.pose))
                whole = limb_of(cut.picture, cut.mask)
                sizes.append(_Body(cut.pose, limbs_of(*cut, seen_only=True), whole, view))
                cut = cut.halved()
        self.sizes = [sizes for sizes in self.sizes if sizes]  # of those with a pose
        legs = [known for one in cutouts if (known := _between_legs(one)) is not None]
        self.skirt = any(legs) or not legs

    def __bool__(self) -> bool:
        """Whether any picture has a pose with a torso, so that something can be laid."""
        return bool(self.sizes)

    def pixels(self) -> np.ndarray:
        """The colors of its limbs, as they are in the pictures: uint8 (N, 3)."""
        limbs = [limb.planes for sizes in self.sizes for limb in sizes[0].limbs if limb is not None]
        whole = [np.moveaxis(planes[1:], 0, -1)[planes[0] > 0.9] for planes in limbs]
        return np.concatenate([np.zeros((0, 3), np.float32), *whole]).round().astype(np.uint8)

    def beside(self, pose: np.ndarray, cover: np.ndarray, view: View) -> np.ndarray:
        """How far off the person each pixel of a frame is, float32 (H, W) in 0..1: what the network
        drew there is not shown. cover: (H, W, 1), what `layer` lays over that frame. Further
        arguments as for that."""
        (body, fall), (height, width) = LAID, cover.shape[:2]
        found = self._found(completed(pose), view)
        rest, head = np.zeros_like(pose), np.zeros_like(pose)
        for bone, limb in zip(BONES, found, strict=True):
            joints = [joint for end in bone for joint in end]
            if limb is None and bone not in HEAD and is_seen(pose, bone):
                rest[joints] = pose[joints]
        if found[BONES.index(TORSO[0])] is None:
            rest = pose  # and nothing is laid
        if found[BONES.index(HEAD[0])] is None:
            head[list(FACE)] = pose[list(FACE)]
        # In the core of the body also what limbs lack, and of a skirt what is between the legs
        seen = np.where(pose[:, 2:] >= VISIBLE, pose, 0)
        core = off_body(seen[None], height, width, CORE, fall, view.torso, self.skirt)[0]
        off: np.ndarray = np.minimum(core + cover[..., 0], 1)
        for left, wide in ((rest, body), (head, HAIR)):
            if left.any():
                own = off_body(left[None], height, width, wide, fall, view.torso, self.skirt)
                off = np.minimum(off, own[0])
        return off

    def layer(self, pose: np.ndarray, size: Size, view: View) -> tuple[np.ndarray, np.ndarray]:
        """What is laid over a frame of a size: coverage float32 (H, W, 1) in 0..1, and color times
        coverage (H, W, 3).

        pose: (18, 3) in pixels of the frame, as of `steadied`. view: as of `views_of`. Limbs of
        which an end is not seen are left out, and all of them without a torso, which tells the
        scale.
        """
        cover = np.zeros((size.height, size.width, 1), np.float32)
        color = np.zeros((size.height, size.width, 3), np.float32)
        found = self._found(completed(pose), view)
        torso = found[BONES.index(TORSO[0])]
        layers: list[list[Laid]] = [[] for _ in BONES]
        for chain in CHAINS:
            begins = torso if len(chain) > 1 else None
            for group in _chained([found[number] for number in chain], begins):
                if len(chain) > 1:
                    group.append(_end(group[-1]))
                parts = bent([one.piece for one in group], BENDS * view.torso, cover.shape[:2])
                for one, part in zip(group, parts, strict=True):
                    layers[one.number] += [] if part is None else [part]
        for part in (part for parts in layers for part in parts):
            _over(cover, color, part)
        _close(cover, color, torso, SLIT * view.torso)
        return cover, color

    def _found(self, points: np.ndarray, view: View) -> list[_Found | None]:
        """The limb for each of `BONES` of a completed pose; None where there is none."""
        if not self.sizes or not is_seen(points, *TORSO):
            return [None] * len(BONES)
        bodies = [_near(sizes, view.torso) for sizes in self.sizes]
        apart = [abs(body.view.turned - view.turned) for body in bodies]
        order = np.argsort(np.nan_to_num(apart, nan=np.inf), kind="stable")
        bodies = [bodies[number] for number in order]
        return [_found(bodies, number, points, view) for number in range(len(BONES))]


def _between_legs(one: Cutout) -> bool | None:
    """Whether a person has something between the thighs, as a skirt is; None if not seen."""
    legs = LEGS[:2]
    if not all(is_seen(one.pose, bone) for bone in legs):
        return None
    ends = [ends_of(one.pose, bone) for bone in legs]
    x, y = np.mean([start + THIGH * (end - start) for start, end in ends], 0).astype(int)
    height, width = one.mask.shape
    return bool(one.mask[min(max(y, 0), height - 1), min(max(x, 0), width - 1)] > 0.5)


def _breadth(turned: float) -> float:
    """How broad a torso is that is turned so, as a share of its breadth from the front: that of an
    ellipse."""
    across = min(abs(turned) / FRONT, 1.0)
    return float(np.sqrt(across**2 + DEEP**2 * (1 - across**2)))


def _near(sizes: Sequence[_Body], size: float) -> _Body:
    """The smallest version of a cut-out that is not enlarged for a torso of `size` pixels."""
    large = [body for body in sizes if body.view.torso >= size]
    return large[-1] if large else sizes[0]


def _found(bodies: Sequence[_Body], number: int, points: np.ndarray, view: View) -> _Found | None:
    """The limb for a bone of a pose, of the first body that has one; None if there is none, or
    nothing of it is to be seen."""
    if not is_seen(points, BONES[number]):
        return None
    for other, body in product((number, OTHER_SIDE[number]), bodies):
        if not is_seen(body.pose, BONES[other]):
            continue
        piece = _piece(body, other, points, number, view)
        if piece is not None:
            return _Found(body, number, piece) if piece.limb is not None else None
    return None


def _piece(body: _Body, limb: int, points: np.ndarray, number: int, view: View) -> Piece | None:
    """A limb of a picture on a bone of a pose; None where this picture has none that fits."""
    bone, own = BONES[number], body.limbs[limb]
    if bone in HEAD and body.view.face != view.face:
        return None  # it would be a face on a back
    turned, shown = view.turned, body.view.turned
    wide = 1.0
    if bone in TORSO and np.isfinite(turned - shown):
        behind = turned * np.sign(shown) < -AWAY
        wide = _breadth(turned) / _breadth(shown) * (-1 if behind else 1)
    elif limb != number:
        wide = -1.0  # the other side's, mirrored
    there, here = ends_of(body.pose, BONES[limb]), ends_of(points, bone)
    larger = view.torso / max(body.view.torso, 1e-6)
    if bone in HEAD:
        here = _upright(there, here, body.pose, points, larger)
    if not min(length_of(here), larger) >= FLAT:  # or nan
        own = None  # nothing of it is to be seen
    elif length_of(there) < FLAT or length_of(here) > STRETCHED * larger * length_of(there):
        return None
    return Piece(own, there, here, wide * larger)


def _chained(found: Sequence[_Found | None], torso: _Found | None) -> list[list[_Found]]:
    """The bones of an arm or leg, or another one alone, in groups that bend as one: those of one
    picture and side, and the torso at which they begin, if it is where the picture has it."""
    out: list[list[_Found]] = []
    last = torso and torso._replace(piece=torso.piece._replace(limb=None))  # it is laid on its own
    for one in found:
        if one is not None and last is not None and _fits(last, one):
            if not out:
                out.append([last])
            out[-1].append(one)
        elif one is not None:
            out.append([one])
        last = one
    return out


def _end(last: _Found) -> _Found:
    """What is beyond a bone, as a hand or a foot: it is not foreshortened as that is."""
    ends, piece = [], last.piece
    for (start, end), length in ((piece.there, 1.0), (piece.here, abs(piece.scale))):
        along = (end - start) / max(length_of((start, end)), 1e-6)
        ends.append((end, end + along * length * length_of(piece.there)))
    return last._replace(piece=Piece(piece.limb, ends[0], ends[1], piece.scale))


def _fits(before: _Found, after: _Found) -> bool:
    """Whether a bone begins, in the picture, about where the one before takes its beginning."""
    if before.body is not after.body or before.piece.scale * after.piece.scale <= 0:
        return False
    joint, (there, here, scale) = after.piece.here[0], before.piece[1:]
    taken = there[0] + back_of(there, here, scale) @ (joint - here[0])
    near = length_of((taken, after.piece.there[0])) < APART * torso_of(before.body.pose)
    both = before.piece, after.piece
    return near and not is_folded(*both) and bend_of(*both) < SHARP


def _over(cover: np.ndarray, color: np.ndarray, laid: Laid) -> None:
    """Lay limbs over a layer of coverage (H, W, 1) and color (H, W, 3), in place."""
    (left, top), (height, width) = laid.corner, laid.cover.shape[:2]
    place = slice(top, top + height), slice(left, left + width)
    for part, new in ((cover, laid.cover), (color, laid.color)):
        part[place] = part[place] * (1 - laid.cover) + new


def _close(cover: np.ndarray, color: np.ndarray, torso: _Found | None, width: float) -> None:
    """Fill slits of a layer that are narrower than `width` pixels, in place, with what the picture
    shows there beside its torso: limbs that turned away leave them. Arguments as for `_over`."""
    rows, columns = (np.flatnonzero(cover.any(axis)) for axis in ((1, 2), (0, 2)))
    if torso is None or torso.body.whole is None or not len(rows) or not width >= 1:
        return
    place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    size = 2 * round(width / 2) + 1
    shown = np.pad(cover[place][..., 0], size)
    slits = (grey_closing(shown, (size, size)) - shown)[size:-size, size:-size]
    y, x = np.nonzero(slits > LEAST)
    points = np.stack([x + columns[0], y + rows[0]], -1) + 0.5
    new = shown_at(torso.piece._replace(limb=torso.body.whole), points)
    share = slits[y, x, None]
    cover[place][y, x] += share * new[:, :1]
    color[place][y, x] += share * new[:, 1:]


def _upright(there: Ends, here: Ends, pose: np.ndarray, points: np.ndarray, larger: float) -> Ends:
    """Where a head is laid whose middle is at the end of the bone `here`: as it stands on the torso
    in the picture, and leaning a little as that bone does, which from the side is in front of the
    neck. It keeps its size."""
    (x, y), (u, v) = (np.subtract(*ends_of(one, TORSO[0])[::-1]) for one in (pose, points))
    turn = np.arctan2(v, u) - np.arctan2(y, x)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    own = larger * rotation @ np.subtract(*there[::-1])
    leaning = (1 - LEANING) * own + LEANING * np.subtract(*here[::-1])
    along = leaning * (np.hypot(*own) / max(np.hypot(*leaning), 1e-6))
    return here[1] - along, here[1]
