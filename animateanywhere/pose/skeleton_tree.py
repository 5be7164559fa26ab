"""The joints of drawn skeletons: candidates by color, and the best tree of joints and limbs."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import label

from animateanywhere.pose.keypoints import LIMBS

HUES = 18  # the palette's colors are 20 degrees of hue apart
CHILDREN = {
    parent: [(index, b) for index, (a, b) in enumerate(LIMBS) if a == parent]
    for parent in range(HUES)
}
PARENT = {b: a for a, b in LIMBS}
OUTWARDS = (1, *(b for _, b in LIMBS))  # parents before children
NECK = 1
DISC = 0.45  # share of a disc's area needed to accept it as a joint
FACE = 12  # first limb of the head, whose joints touch in small pictures
ALONG = np.linspace(0.2, 0.8, 9)  # positions along a limb at which its color is checked
AROUND = np.array([(0, 1, -1, 0, 0), (0, 0, 0, 1, -1)])[..., None]  # x and y, in pixels
UNSUPPORTED = 0.8  # cost of a joint without a limb of the right color
SUPPORTED = 0.6  # share of a limb's line that shows its color
PERSONS = 6  # at most, in one picture
FEWEST = 4  # limbs that end in a disc, of a further person

Candidates = list[list[tuple[float, float, float]]]


def find_skeletons(joints: np.ndarray, limbs: np.ndarray, dotted: bool) -> list[np.ndarray]:
    """The skeletons of a picture.

    Args:
        joints, limbs: int8 (H, W), the number of the joint's or limb's color, -1 without.
        dotted: white dots of a face cover most of the limbs of the head.

    Returns:
        For each person float32 (18, 4): x, y; confidence 1 for a disc, 0.8 for a limb's end, 0 for
        neither; and the share 0..1 of the limb to its parent that shows the right color.
    """
    candidates, radius = _candidates(joints, limbs, dotted)
    tree = _Tree(candidates, limbs, radius, dotted)
    people: list[np.ndarray] = []
    while len(people) < PERSONS:
        points = np.zeros((HUES, 4), dtype=np.float32)
        root = tree.root(NECK, only_discs=dotted and bool(people))
        if root is not None:
            tree.place(points, NECK, root)
        if people and ((points[:, 3] >= SUPPORTED) & (points[:, 2] == 1)).sum() < FEWEST:
            break
        people.append(points)
        if root is None:
            break
    # A hidden joint splits the tree: its descendants form a separate tree
    for joint in OUTWARDS[1:]:
        for _ in people:
            lacking = [one for one in people if not one[joint, 2] and not one[PARENT[joint], 2]]
            root = tree.root(joint) if lacking else None
            if root is None:
                break
            x, y, _ = candidates[joint][root]
            tree.place(min(lacking, key=lambda one: _away(one, x, y)), joint, root)
    return people


def _away(points: np.ndarray, x: float, y: float) -> float:
    """Distance of a place from the middle of a skeleton; 0 of an empty one."""
    shown = points[points[:, 2] > 0, :2]
    return float(np.hypot(*(shown.mean(0) - (x, y)))) if len(shown) else 0.0


def _candidates(joints: np.ndarray, limbs: np.ndarray, dotted: bool) -> tuple[Candidates, float]:
    """Candidates (x, y, share of a disc in 0..1) of each joint, and the radius of a disc in
    pixels."""
    blobs: list[list[tuple[float, float, float]]] = []
    for joint in range(HUES):
        regions, _ = label(joints == joint)
        ys, xs = np.nonzero(regions)
        number = regions[ys, xs]
        areas = np.bincount(number).astype(float)
        middles = (
            np.stack([np.bincount(number, at) for at in (xs, ys)]) / np.maximum(areas, 1) + 0.5
        )
        blobs.append([(float(middles[0, k]), float(middles[1, k]), float(areas[k]))
                      for k in np.flatnonzero(areas >= 2)])  # fmt: skip
    largest = [max(area for _, _, area in blob) for blob in blobs if blob]
    usual = float(np.median(largest)) if largest else 1.0
    # Hands are drawn in the colors of joints, in small pieces: keep those nearest to a disc's area
    blobs = [sorted(b, key=lambda blob: abs(np.log(blob[2] / usual)))[:12] for b in blobs]
    radius = float(np.sqrt(usual / np.pi))
    out = [[(x, y, min(area / usual, 1.0)) for x, y, area in blob] for blob in blobs]
    for limb, pair in enumerate(LIMBS):
        for end in _ends(limbs == limb, radius, dotted and limb >= FACE):
            for joint in pair:
                if all(np.hypot(x - end[0], y - end[1]) > 3 * radius for x, y, _ in out[joint]):
                    out[joint].append((float(end[0]), float(end[1]), 0.4))
    return out, radius


def _ends(drawn: np.ndarray, radius: float, short: bool) -> list[np.ndarray]:
    """Both ends (2,) of the limb drawn in (H, W), or of each of several people's."""
    ys, xs = np.nonzero(drawn)
    if len(xs) < 6:
        return []
    whole = np.stack([xs, ys], axis=1) + 0.5
    ends = _line(whole, radius, short)
    if ends:
        return ends
    parts, count = label(drawn, np.ones((3, 3)))
    if count < 2:
        return []
    number = parts[ys, xs]
    areas = np.bincount(number)
    largest = np.argsort(-areas, kind="stable")[:PERSONS]
    return [end for part in largest if areas[part] >= 6
            for end in _line(whole[number == part], radius, short)]  # fmt: skip


def _line(points: np.ndarray, radius: float, short: bool) -> list[np.ndarray]:
    """Both ends of the line that points (N, 2) form; [] if they do not, as the rims of discs."""
    _, (long, wide), axes = np.linalg.svd(points - points.mean(0), full_matrices=False)
    along = (points - points.mean(0)) @ axes[0]
    span = np.ptp(along)
    if not short and (long < 2 * wide or span < 3 * radius or len(points) < 0.5 * span):
        return []
    return [points[along.argmin()], points[along.argmax()]]


class _Tree:
    """Best assignment of candidates to joints, from the neck outwards (dynamic programming)."""

    def __init__(
        self,
        candidates: Candidates,
        limbs: np.ndarray,
        radius: float,
        dotted: bool,
    ) -> None:
        self.candidates = candidates
        self.touching = 3 * radius
        self.limbs = limbs
        self.dotted = dotted
        self.scores: dict[tuple[int, int], float] = {}
        self.supports: dict[tuple[float, ...], float] = {}
        self.taken: set[tuple[int, int]] = set()  # candidates of people who were found already

    def place(self, points: np.ndarray, joint: int, index: int) -> None:
        """Write the best tree below a candidate into points (18, 4), and take its candidates."""
        stack, placed = [(joint, index, 0.0)], []
        while stack:
            joint, index, support = stack.pop()
            x, y, size = self.candidates[joint][index]
            points[joint] = x, y, 1.0 if size > DISC else 0.8, support
            placed.append((joint, index))
            for limb, child in CHILDREN[joint]:
                if points[child, 2]:
                    continue
                _, chosen, support = self.choose(limb, joint, index, child)
                if chosen is not None:
                    stack.append((child, chosen, support))
        self.taken.update(placed)
        self.scores.clear()

    def root(self, joint: int, only_discs: bool = False) -> int | None:
        """The root candidate of a tree, of the neck or of a joint whose parent is hidden.

        It is a candidate from which a limb of the right color leads on, or the only disc of its
        color, unless hands are drawn too, which have all colors. only_discs: no limb's end.
        """
        places = self.candidates[joint]
        free = [number for number, place in enumerate(places)
                if (joint, number) not in self.taken
                and (place[2] > DISC or not only_discs)]  # fmt: skip
        best = max(free, key=lambda i: self.score(joint, i), default=None)
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

    def choose(
        self, limb: int, joint: int, index: int, child: int
    ) -> tuple[float, int | None, float]:
        """Score, candidate and the limb's support of the child below a joint's candidate; None:
        absent, score 0."""
        best: tuple[float, int | None, float] = (0.0, None, 0.0)
        start = self.candidates[joint][index][:2]
        for number, (x, y, _) in enumerate(self.candidates[child]):
            if (child, number) in self.taken:
                continue
            support = self._support(limb, start, (x, y))
            cost = UNSUPPORTED if support < 0.3 else 0.0
            value = self.score(child, number) + 2 * support - cost
            if support > 0.1 and value > best[0]:
                best = value, number, support
        return best

    def _support(self, limb: int, start: tuple[float, float], end: tuple[float, float]) -> float:
        """Share of the line along which the limb's color is within a pixel, 0..1."""
        key = (limb, *start, *end)
        if key not in self.supports:
            self.supports[key] = self._supported(limb, start, end)
        return self.supports[key]

    def _supported(self, limb: int, start: tuple[float, float], end: tuple[float, float]) -> float:
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
