"""Reference pictures for samples of a corpus, from other samples of the same person: their best
frame, cut out by its mask."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.datasets.corpus_check import read_file, read_frames
from animateanywhere.datasets.samples import poses_of
from animateanywhere.datasets.shard_corpus import ShardCorpus
from animateanywhere.datasets.shards import Sample, meta_of
from animateanywhere.datasets.subject import masks_to_uint8
from animateanywhere.media.video import Video
from animateanywhere.pose.keypoints import VISIBLE
from animateanywhere.pose.visibility import has_person
from animateanywhere.preprocessing.backends import Backends
from animateanywhere.preprocessing.best_frame import best_frame
from animateanywhere.preprocessing.character import Character, cut_out
from animateanywhere.preprocessing.corpus.source import Unfit
from animateanywhere.preprocessing.portrait import OTHER, difference

MASKS = ("mask.mp4", "mask.png")
LOOKED_AT = 8  # other samples, of which the best are taken
KEPT = 256  # portraits that are kept in memory


class Portrait(NamedTuple):
    """The best frame of a sample, uint8 (1, H, W, 3), its person cut out, and its number."""

    frame: np.ndarray
    person: Character
    number: int


class Found(NamedTuple):
    """A reference picture, uint8 (S, S, 4), and where it is from, in words."""

    picture: np.ndarray
    origin: str


class Portraits:
    """The portraits of a corpus's samples, and those of the same person as another sample.

    per_folder: all files in one folder show one person; otherwise only the shots of one file may.
    Samples without a source have no others.
    """

    def __init__(self, corpus: ShardCorpus, per_folder: bool, seed: int) -> None:
        self.corpus, self.seed = corpus, seed
        self.groups: dict[str | int, list[int]] = {}
        self.group_of: list[str | int] = []
        for number in range(len(corpus)):
            source = meta_of(corpus.read(number, ["meta.json"]), corpus.name(number, "")).source
            group: str | int = str(PurePosixPath(source).parent) if per_folder else source
            if not source:  # of which nothing says that it is the person of another one
                group = number
            self.groups.setdefault(group, []).append(number)
            self.group_of.append(group)
        self.of = lru_cache(KEPT)(self._of)

    def _of(self, number: int) -> Portrait:
        sample = self.corpus.read(number)
        return portrait_of(sample, str(self.corpus.shards[self.corpus.shard[number]]))

    def others(self, number: int, count: int) -> list[Found]:
        """At most `count` pictures of the person of a sample, from other samples, in the poses that
        differ most from the sample's. Raises Unfit with the reason if there is none."""
        group = [other for other in self.groups[self.group_of[number]] if other != number]
        if not group:
            raise Unfit("alone", "no other clip of this person")
        rng = np.random.default_rng([self.seed, number])
        some = rng.permutation(group)[:LOOKED_AT].tolist()
        own = self.of(number).person
        good: list[tuple[float, int]] = []
        reasons: list[Unfit] = []
        for other in some:
            try:
                person = self.of(other).person
            except Unfit as error:
                reasons.append(error)
                continue
            if (color := difference(own, person)) >= OTHER:
                text = f"CIEDE2000 {color:.0f}: other clothes, or somebody else"
                reasons.append(Unfit("other colors", text))
                continue
            good.append((pose_distance(own.keypoints, person.keypoints), other))
        if not good:
            raise reasons[0]
        best = sorted(good, key=lambda row: (-row[0], row[1]))[:count]
        return [self._found(other) for _, other in best]

    def _found(self, number: int) -> Found:
        portrait = self.of(number)
        return Found(
            transparent(portrait.person), f"{self.corpus.key(number)}, frame {portrait.number}"
        )


def portrait_of(sample: Sample, where: str) -> Portrait:
    """The portrait of a sample with a mask. Raises Unfit if it shows nobody to cut out, UsageError
    if it is damaged."""
    mask = next((name for name in MASKS if name in sample.files), None)
    if mask is None:
        raise Unfit("no mask", "the sample has no mask")
    frames, keypoints = read_frames(sample, where), poses_of(sample, where).keypoints
    masks = read_file(sample, mask, where)[..., 0]
    count = min(len(frames), len(keypoints), len(masks))
    shown = (masks[:count] > 127).any((1, 2))
    points = keypoints[:count] * np.where(shown, 1, 0)[:, None, None]
    if not has_person(points).any():
        raise Unfit("no person", "no frame with a pose and a mask")
    index, _ = best_frame(frames[:count], points, np.arange(count))
    frame = frames[index : index + 1]
    fps = meta_of(sample, where).fps or 1.0
    read = Video(frame, fps, Path(sample.key), fps, np.zeros(1), None, None, False, [])
    try:
        person = cut_out(read, keypoints[index], [], masks[index], Backends(), 1)
    except UsageError as error:
        raise Unfit("no outline", str(error)) from None
    return Portrait(frame, person, index)


def transparent(person: Character) -> np.ndarray:
    """A cut-out as a picture with transparency, uint8 (S, S, 4)."""
    picture: np.ndarray = np.dstack([person.pixels, masks_to_uint8(person.mask)])
    return picture


def pose_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The mean distance of the joints (18, 3) that two poses show, both moved to the same middle
    and height; 0 where they share too few."""
    both = (a[:, 2] >= VISIBLE) & (b[:, 2] >= VISIBLE)
    if both.sum() < 2:
        return 0.0
    one, other = (points[both, :2] - points[both, :2].mean(0) for points in (a, b))
    one, other = (points / max(float(np.ptp(points, 0).max()), 1e-6) for points in (one, other))
    return float(np.hypot(*(one - other).T).mean())
