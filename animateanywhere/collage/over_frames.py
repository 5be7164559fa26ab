"""A person's own limbs over the person that a small network drew.

In none of the papers. In 128 pixels a small network draws a scene, and a blurred person in the
right colors; the limbs of a picture, turned onto the bones of the motion, are that person.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.ndimage import binary_dilation, gaussian_filter

from animateanywhere.collage.background import behind
from animateanywhere.collage.limb_collage import Collage
from animateanywhere.collage.limbs import BONES, ends_of, is_seen
from animateanywhere.collage.steady_background import MANY, steady_background
from animateanywhere.collage.views import FACE, steadied, views_of
from animateanywhere.core.frame_size import Size
from animateanywhere.core.messages import progress
from animateanywhere.core.reporter import Bar
from animateanywhere.pose.outline import body_outlines

# Of the widths of a generous outline (`pose.outline`): there, the network drew a person, and a
# head, around which more would be a halo
NEAR, NEAR_HEAD = 1.2, 1.0
SOFT = 0.008  # of a frame's height: the width of that outline's border
# What is so far from every mixture of background and colors of the person is an object, from the
# first on a little and from the second on wholly: CIE 1976 color differences
OBJECT = (20.0, 28.0)
COLORS = 12  # of a person
PIXELS = 4000  # of a person, of which these are found
ALONG = (0.2, 0.35, 0.5, 0.65, 0.8)  # of a bone: where the network drew that limb
EVEN = (1.0, 0.012)  # the width, in frames and in heights of a frame, over which objects are steady
IN_FACE = 0.4  # of the widths of a head's outline: there no object stays
LONGEST = 160  # frames that are held at a time
TIMED = 8  # frames that are timed for an estimate


def seconds_of_limbs(poses: np.ndarray, size: Size, collage: Collage, steady: bool) -> float:
    """Estimate the seconds that `with_limbs` takes on this machine, from its first frames, of
    noise in place of what will be drawn. Arguments as for that."""
    some = poses[:TIMED]
    noise = np.random.default_rng(0).integers(0, 256, (len(some), size.height, size.width, 3))
    begun = time.monotonic()
    with_limbs(noise.astype(np.uint8), some, collage, steady=steady)
    return (time.monotonic() - begun) / len(some) * len(poses)


class _Part(NamedTuple):
    """Frames uint8 (F, H, W, 3) that are held at a time, their indices in the video (F,), and which
    of them are its own: those before and after only tell what the background is."""

    frames: np.ndarray
    numbers: np.ndarray
    own: slice


def each_with_limbs(
    frames: Iterable[np.ndarray], poses: np.ndarray, collage: Collage, steady: bool = False,
    circle: bool = False,
) -> Iterator[np.ndarray]:  # fmt: skip
    """`with_limbs` of frames (H, W, 3) one by one, of which about `LONGEST` are held, with some
    before and after, so that the background does not leap where the next ones begin. circle:
    whether the last frame leads to the first one, before which it then is; all frames are held."""
    for part in (_around if circle else _along)(frames):
        own = part.numbers[part.own]
        with progress("laying limbs", total=len(poses), done=int(own[0])) as bar:
            made = with_limbs(
                part.frames, poses[part.numbers], collage, steady=steady,
                advance=partial(_advance, bar, iter(own)),
            )  # fmt: skip
        yield from made[part.own]


def _advance(bar: Bar, left: Iterator[int]) -> None:
    """Advance by a frame, while some are left: not for those before and after a part."""
    if next(left, None) is not None:
        bar.advance(1)


def _along(frames: Iterable[np.ndarray]) -> Iterator[_Part]:
    """The parts of a video."""
    rest, first, before = iter(frames), 0, list[np.ndarray]()
    some = list(islice(rest, LONGEST + MANY))
    while some:
        own, after = some[:LONGEST], some[LONGEST:]
        held, early = np.stack([*before, *own, *after]), len(before)
        yield _Part(held, first - early + np.arange(len(held)), slice(early, early + len(own)))
        first += len(own)
        before = own[-MANY:]
        some = after + list(islice(rest, LONGEST))


def _around(frames: Iterable[np.ndarray]) -> Iterator[_Part]:
    """The parts of a video whose last frame leads to the first one."""
    some = list(frames)
    if not some:
        return
    held = np.stack(some)
    for first in range(0, len(held), LONGEST):
        own = min(LONGEST, len(held) - first)
        numbers = np.arange(first - MANY, first + own + MANY) % len(held)
        yield _Part(held[numbers], numbers, slice(MANY, MANY + own))


def with_limbs(
    frames: np.ndarray, poses: np.ndarray, collage: Collage, *, steady: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> np.ndarray:  # fmt: skip
    """Frames uint8 (F, H, W, 3) of a person in poses (F, 18, 3), in their pixels, with the limbs of
    a collage. Beside them, where the network drew the person wider, is what other frames show, or
    the colors around; objects in colors that neither has stay. steady: whether the background is
    steadied (`collage.steady_background`). advance: called for each frame."""
    count, height, width = frames.shape[:3]
    size = Size(width, height)
    joints = steadied(poses)
    views = views_of(joints, poses)
    near = np.stack(
        [_near(one, size, torso) for one, torso in zip(joints, views.torso, strict=True)]
    )
    if steady:
        frames = steady_background(frames, near)
    soft = max(SOFT * height, 0.5)
    around, beyond = (
        binary_dilation(near, iterations=times * max(round(soft), 1), axes=(1, 2))
        for times in (1, 2)
    )
    calls = itertools.count(1)

    def half() -> None:  # of a frame's work
        if next(calls) % 2 == 0:
            advance()

    empty = behind(frames, np.tile([0, 0, width], (count, 1)), beyond, advance=half)
    colors = np.concatenate([_colors(collage.pixels()), _drawn(frames, joints)])
    own_share = 1 - _objects(frames, empty, near, colors)  # (F, H, W)
    out = np.empty_like(frames)
    for index, own in enumerate(frames):
        view = views.one(index, 1.0)
        head = np.zeros_like(joints[index])
        head[list(FACE)] = joints[index][list(FACE)]
        face = body_outlines(head[None], height, width, IN_FACE, view.torso)[0]
        share = np.where(face, 1, own_share[index])[..., None]  # (H, W, 1)
        off = gaussian_filter(around[index].astype(np.float32), soft)
        layer = collage.layer(joints[index], size, view)
        off = (off * collage.beside(joints[index], layer[0], view))[..., None] * share
        cover, color = (part * share for part in layer)
        shown = (own + off * (empty[index].astype(np.float32) - own)) * (1 - cover) + color
        out[index] = (shown + 0.5).clip(0, 255)
        half()
    return out


def _near(pose: np.ndarray, size: Size, torso: float) -> np.ndarray:
    """Where the network drew a person, bool (H, W), by a pose (18, 3) and the torso's length."""
    body, head = pose.copy(), np.zeros_like(pose)
    body[list(FACE)], head[list(FACE)] = 0, pose[list(FACE)]
    parts = ((body, NEAR), (head, NEAR_HEAD))
    found = [body_outlines(one[None], size.height, size.width, wide, torso) for one, wide in parts]
    return np.asarray((found[0] | found[1])[0])


def _colors(pixels: np.ndarray) -> np.ndarray:
    """The colors of a person, (N, 3) in CIELAB, of pixels uint8 (M, 3)."""
    some = _lab(pixels[:: max(len(pixels) // PIXELS, 1)])
    different = np.unique(some, axis=0)
    if len(different) <= COLORS:  # as in a flat drawing
        return different
    found, _ = kmeans2(some, COLORS, seed=0, minit="++")
    return np.asarray(found)


def _drawn(frames: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """The usual color of each limb as the network drew it, (N, 3) in CIELAB: it may be wrong, and
    is the person's all the same. Arguments as for `with_limbs`."""
    colors = []
    for bone in BONES:
        ends = [(n, *ends_of(one, bone)) for n, one in enumerate(poses) if is_seen(one, bone)]
        places = [(n, *(a + share * (b - a))) for n, a, b in ends for share in ALONG]
        numbers, x, y = np.array(places, int).reshape(-1, 3).T
        inside = (x >= 0) & (y >= 0) & (x < frames.shape[2]) & (y < frames.shape[1])
        found = frames[numbers[inside], y[inside], x[inside]]
        colors += [np.median(found, 0)] if len(found) else []
    return _lab(np.array(colors).reshape(-1, 3))


def _objects(
    frames: np.ndarray, empty: np.ndarray, near: np.ndarray, colors: np.ndarray
) -> np.ndarray:
    """Where near a person something is drawn that is neither person nor background, float32
    (F, H, W) in 0..1: its color is no mixture of that of the background and one of the person's.

    frames, empty: uint8 (F, H, W, 3), the latter without the person. near: bool (F, H, W). colors:
    (N, 3) in CIELAB, of the person.
    """
    apart = np.zeros(near.shape, np.float32)
    for index, place in enumerate(near):
        own, ground = _lab(frames[index][place]), _lab(empty[index][place])  # (N, 3)
        nearest = np.full(len(own), np.inf, np.float32)
        for color in colors:
            line = color - ground
            share = ((own - ground) * line).sum(1) / np.maximum((line**2).sum(1), 1e-3)
            left = own - ground - share.clip(0, 1)[:, None] * line
            nearest = np.minimum(nearest, np.linalg.norm(left, axis=1))
        apart[index, place] = nearest
    width = max(EVEN[1] * near.shape[1], 1.0)
    steady = gaussian_filter(apart, (EVEN[0], width, width))
    first, whole = OBJECT
    found: np.ndarray = ((steady - first) / (whole - first)).clip(0, 1) * near
    return found


def _lab(pixels: np.ndarray) -> np.ndarray:
    """Colors (N, 3) in 0..255 in CIELAB, float32."""
    from skimage.color import rgb2lab

    return np.asarray(rgb2lab(pixels.astype(np.float32) / 255), np.float32)
