"""Recovery of keypoints from skeleton videos: which palette they use, and where the joints are."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from scipy.ndimage import find_objects, label

from animateanywhere.pose.keypoints import LIMBS

Kind = Literal["openpose18", "dwpose", "foreign", "densepose"]

DOTTED = 0.03  # share of white in the drawn pixels, for a face drawn by DWPose
DARK = 40  # brightest channel of black after H.264
SHADED = 0.8 * 255  # limbs are drawn at 0.6 of their color, joints at 1.0
HUES = 18  # the palette's colors are 20 degrees of hue apart
VIRIDIS = np.array([
    (68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142),
    (31, 158, 137), (53, 183, 121), (109, 205, 89), (180, 222, 44), (253, 231, 37),
], dtype=np.float32)  # fmt: skip
CHILDREN = {
    parent: [(index, b) for index, (a, b) in enumerate(LIMBS) if a == parent]
    for parent in range(HUES)
}
PARENT = {b: a for a, b in LIMBS}
OUTWARDS = (1, *(b for _, b in LIMBS))  # parents before children
DISC = 0.45  # share of a disc's area needed to accept it as a joint
FACE = 12  # first limb of the head, whose joints touch in small pictures
ALONG = np.linspace(0.2, 0.8, 9)  # positions along a limb at which its color is checked
AROUND = np.array([(0, 1, -1, 0, 0), (0, 0, 0, 1, -1)])[..., None]  # x and y, in pixels
UNSUPPORTED = 0.8  # cost of a joint without a limb of the right color


def recognize(frames: np.ndarray) -> Kind | None:
    """Recognize the kind of rendering of frames, uint8 (F, H, W, 3); None: not a skeleton video.

    "openpose18": body in the OpenPose palette. "dwpose": with white face dots too. "foreign":
    a skeleton in other colors. "densepose": a body-part map in the viridis colors.
    """
    picked = frames[np.linspace(0, len(frames) - 1, min(len(frames), 8)).astype(int)]
    pixels = picked[:, ::2, ::2].reshape(-1, 3)
    curve = np.concatenate([
        np.linspace(a, b, 8) for a, b in pairwise(VIRIDIS)
    ])  # fmt: skip
    sample = pixels[:: max(len(pixels) // 20_000, 1)].astype(np.float32)
    nearest = np.abs(sample[:, None] - curve).max(-1).min(-1)
    purple = np.abs(sample - VIRIDIS[0]).max(-1) < 24
    if (nearest < 24).mean() > 0.9 and purple.mean() > 0.2:
        return "densepose"

    lit = (picked[..., 0] > DARK) | (picked[..., 1] > DARK) | (picked[..., 2] > DARK)
    if not 0.002 < lit.mean() < 0.25:
        return None
    drawn = picked[lit].astype(np.float32)
    bright = drawn[drawn.max(-1) > 96]  # darker pixels are blur
    if len(bright) < 20:
        return None
    high, low = bright.max(-1), bright.min(-1)
    colored, white = low < 0.35 * high, low > 190
    if (colored | white).mean() < 0.8 or colored.mean() < 0.3:
        return None
    share = np.bincount(_hue_index(bright[colored]), minlength=HUES) / colored.sum()
    if (share > 0.01).sum() < 8:
        return "foreign"
    return "dwpose" if white.mean() > DOTTED else "openpose18"


def recover(frames: np.ndarray) -> np.ndarray:
    """Recover the keypoints of OpenPose or DWPose renderings.

    Joints are discs, each in its own color; where hands or limbs cover or resemble a disc, the
    limbs that lead to it decide (best tree of joints and limbs). Drawn hands and faces are ignored.

    Args:
        frames: uint8 (F, H, W, 3) on black.

    Returns:
        float32 (F, 18, 3): x, y in pixels; confidence 1 for a disc, 0.8 for a limb's end, 0 for
        neither.
    """
    return np.stack([_recover_one(frame) for frame in frames])


def _hue_index(colors: np.ndarray) -> np.ndarray:
    """Palette index (...) of the nearest hue of RGB colors (..., 3)."""
    high, low = colors.max(-1), colors.min(-1)
    spread = np.maximum(high - low, 1e-6)
    r, g, b = np.moveaxis(colors, -1, 0)
    sixth = np.where(
        high == r, (g - b) / spread, np.where(high == g, 2 + (b - r) / spread, 4 + (r - g) / spread)
    )
    return np.round(sixth * 60 / (360 / HUES)).astype(int) % HUES


def _recover_one(frame: np.ndarray) -> np.ndarray:
    """(18, 3) of one uint8 frame (H, W, 3)."""
    lit = frame.max(-1) > DARK
    rows, columns = np.flatnonzero(lit.any(1)), np.flatnonzero(lit.any(0))
    if not len(rows):
        return np.zeros((HUES, 3), dtype=np.float32)
    left, top = int(columns[0]), int(rows[0])
    frame = frame[top : rows[-1] + 1, left : columns[-1] + 1]
    ys, xs = np.nonzero(lit[top : rows[-1] + 1, left : columns[-1] + 1])
    colors = frame[ys, xs].astype(np.float32)
    high, low = colors.max(-1), colors.min(-1)
    hue = np.where(low < 0.4 * high, _hue_index(colors), -1)
    joints, limbs = np.full((2, *frame.shape[:2]), -1, dtype=np.int8)
    joints[ys, xs] = np.where(high >= SHADED, hue, -1)
    limbs[ys, xs] = np.where((high < SHADED) & (high > 80), hue, -1)
    dotted = bool((low > 190).mean() > DOTTED)
    candidates, radius = _candidates(joints, limbs, dotted)
    tree = _Tree(candidates, limbs, radius, dotted)
    points = np.zeros((HUES, 3), dtype=np.float32)
    # A hidden joint splits the tree: its descendants form a separate tree
    for root in OUTWARDS:
        if points[root, 2] or (root in PARENT and points[PARENT[root], 2]):
            continue
        best = tree.root(root)
        stack = [] if best is None else [(root, best)]
        while stack:
            joint, index = stack.pop()
            x, y, size = candidates[joint][index]
            points[joint] = x, y, 1.0 if size > DISC else 0.8
            for limb, child in CHILDREN[joint]:
                chosen = tree.choose(limb, joint, index, child)[1]
                if chosen is not None:
                    stack.append((child, chosen))
    points[points[:, 2] > 0, :2] += left, top
    return points


def _candidates(
    joints: np.ndarray, limbs: np.ndarray, dotted: bool
) -> tuple[list[list[tuple[float, float, float]]], float]:
    """Candidates (x, y, share of a disc in 0..1) of each joint, and the radius of a disc in pixels.

    dotted: white dots cover most of the limbs of the head.
    """
    blobs: list[list[tuple[float, float, float]]] = []
    for joint in range(HUES):
        regions, _ = label(joints == joint)
        found = []
        for number, where in enumerate(find_objects(regions), start=1):
            ys, xs = np.nonzero(regions[where] == number)
            if len(xs) >= 2:
                middle = xs.mean() + where[1].start + 0.5, ys.mean() + where[0].start + 0.5
                found.append((*middle, float(len(xs))))
        blobs.append(found)
    largest = [max(area for _, _, area in blob) for blob in blobs if blob]
    usual = float(np.median(largest)) if largest else 1.0
    # Hands are drawn in the colors of joints, in small pieces: keep those nearest to a disc's area
    blobs = [sorted(b, key=lambda blob: abs(np.log(blob[2] / usual)))[:12] for b in blobs]
    radius = float(np.sqrt(usual / np.pi))
    out = [[(x, y, min(area / usual, 1.0)) for x, y, area in blob] for blob in blobs]
    for limb, pair in enumerate(LIMBS):
        ys, xs = np.nonzero(limbs == limb)
        if len(xs) < 6:
            continue
        points = np.stack([xs, ys], axis=1) + 0.5
        _, (long, wide), axes = np.linalg.svd(points - points.mean(0), full_matrices=False)
        along = (points - points.mean(0)) @ axes[0]
        span = np.ptp(along)
        sparse = long < 2 * wide or span < 3 * radius or len(xs) < 0.5 * span
        if sparse and not (dotted and limb >= FACE):
            continue  # dark rims of discs
        for end in (points[along.argmin()], points[along.argmax()]):
            for joint in pair:
                if all(np.hypot(x - end[0], y - end[1]) > 3 * radius for x, y, _ in out[joint]):
                    out[joint].append((float(end[0]), float(end[1]), 0.4))
    return out, radius


class _Tree:
    """Best assignment of candidates to joints, from the neck outwards (dynamic programming)."""

    def __init__(
        self,
        candidates: list[list[tuple[float, float, float]]],
        limbs: np.ndarray,
        radius: float,
        dotted: bool,
    ) -> None:
        self.candidates = candidates
        self.touching = 3 * radius
        self.limbs = limbs
        self.dotted = dotted
        self.scores: dict[tuple[int, int], float] = {}

    def root(self, joint: int) -> int | None:
        """The root candidate of a tree, of the neck or of a joint whose parent is hidden.

        It is a candidate from which a limb of the right color leads on, or the only disc of its
        color, unless hands are drawn too, which have all colors.
        """
        places = self.candidates[joint]
        best = max(range(len(places)), key=lambda i: self.score(joint, i), default=None)
        if best is None:
            return None
        size = places[best][2]
        below = self.score(joint, best) - size
        if size <= DISC:
            if joint != 1:
                return None
            # A neck covered by hands: limbs of the body, besides the head's, must meet there
            met = [self.choose(limb, 1, best, child)[1] for limb, child in CHILDREN[1][:-1]]
            return best if len(met) - met.count(None) > 1 else None
        only = not self.dotted and size > 0.7 and sum(share > DISC for _, _, share in places) == 1
        return best if only or below > 1 else None

    def score(self, joint: int, index: int) -> float:
        """Score of a candidate with the best tree below it."""
        if (joint, index) not in self.scores:
            below = [self.choose(limb, joint, index, child)[0] for limb, child in CHILDREN[joint]]
            self.scores[joint, index] = self.candidates[joint][index][2] + sum(below)
        return self.scores[joint, index]

    def choose(self, limb: int, joint: int, index: int, child: int) -> tuple[float, int | None]:
        """Score and candidate of the child below a joint's candidate; None: absent, score 0."""
        best: tuple[float, int | None] = (0.0, None)
        start = self.candidates[joint][index][:2]
        for number, (x, y, _) in enumerate(self.candidates[child]):
            support = self._support(limb, start, (x, y))
            cost = UNSUPPORTED if support < 0.3 else 0.0
            value = self.score(child, number) + 2 * support - cost
            if support > 0.1 and value > best[0]:
                best = value, number
        return best

    def _support(self, limb: int, start: tuple[float, float], end: tuple[float, float]) -> float:
        """Share of the line along which the limb's color is within a pixel, 0..1."""
        gap = abs(end[0] - start[0]) + abs(end[1] - start[1])
        if limb < FACE:  # a short line may lie within its color by chance
            trust = min(1.0, gap / (3 * self.touching))
        elif gap >= self.touching:
            trust = 1.0
        else:
            return 0.5  # the discs cover the whole limb
        height, width = self.limbs.shape
        xs = np.minimum(start[0] + ALONG * (end[0] - start[0]) + AROUND[0], width - 1).astype(int)
        ys = np.minimum(start[1] + ALONG * (end[1] - start[1]) + AROUND[1], height - 1).astype(int)
        matching = (self.limbs[np.maximum(ys, 0), np.maximum(xs, 0)] == limb).any(0)
        return trust * float(np.count_nonzero(matching)) / matching.size
