"""What a sample of a corpus of people contains, and the checks that it must pass.

clip.mp4 or image.jpg or image.png    the frames
pose.json                             OpenPose-18 keypoints of each frame, one person
caption.txt                           captions, one a line
meta.json                             see `shards.Meta`
mask.mp4 or mask.png                  optional: the person in white
reference0.png, reference1.png, ...   optional: other pictures of the person
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import NamedTuple, Protocol

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.datasets.shards import Meta, Sample, meta_of
from animateanywhere.pose.skeleton import Poses, one_person, parse_poses

CLIP = "clip.mp4"
PICTURES = ("image.jpg", "image.png")


class Samples(Protocol):
    """Numbered samples that can be read in any order: shards, or a folder of clips."""

    @property
    def sizes(self) -> np.ndarray:
        """Width and height in pixels, (N, 2) int32."""

    @property
    def frames(self) -> np.ndarray:
        """Numbers of frames, (N,) int32; 1 for a picture."""

    @property
    def fps(self) -> np.ndarray:
        """Frames per second, (N,) float64."""

    def __len__(self) -> int: ...

    def key(self, number: int) -> str:
        """The key of a sample."""

    def name(self, number: int, file: str) -> str:
        """Where a file of a sample is, for messages."""

    def files(self, number: int) -> list[str]:
        """The names of a sample's files."""

    def groups(self) -> list[range]:
        """The numbers of samples that lie together, in order."""

    def fingerprint(self, group: int) -> str:
        """What changes if any sample of a group does."""

    def read(self, number: int, files: Iterable[str] | None = None) -> Sample:
        """A sample, with all its files or only `files`. Raises UsageError if it cannot be read."""


def frames_file(files: Collection[str], where: str) -> str:
    """The name of the file with a sample's frames. Raises UsageError, which names `where` and the
    key in it, without one or with two."""
    found = [name for name in (CLIP, *PICTURES) if name in files]
    if len(found) != 1:
        what = "no frames" if not found else f"{found[0]} and {found[1]}"
        raise UsageError(f"{where}: has {what}; a sample has a clip.mp4 or an image.jpg or .png")
    return found[0]


def poses_of(sample: Sample, where: str) -> Poses:
    """The keypoints (F, 18, 3) of a sample's person. Raises UsageError, which names `where`."""
    return parse_sample_poses(sample, f"{where}: {sample.key}.pose.json")


def parse_sample_poses(sample: Sample, name: str) -> Poses:
    """As `poses_of`; name: of the file, for errors."""
    if "pose.json" not in sample.files:
        raise UsageError(f"{name}: missing")
    return one_person(parse_poses(sample.files["pose.json"], name), name)


def captions_of(sample: Sample, where: str) -> list[str]:
    """The captions of a sample, at least one. Raises UsageError, which names `where`."""
    return parse_captions(sample, f"{where}: {sample.key}.caption.txt")


def parse_captions(sample: Sample, name: str) -> list[str]:
    """As `captions_of`; name: of the file, for errors."""
    if "caption.txt" not in sample.files:
        raise UsageError(f"{name}: missing")
    try:
        lines = [line.strip() for line in sample.files["caption.txt"].decode().split("\n")]
    except UnicodeDecodeError:
        raise UsageError(f"{name}: not text in UTF-8") from None
    captions = [line for line in lines if line]
    if not captions:
        raise UsageError(f"{name}: contains no caption; write one in each line")
    return captions


def notes_of(sample: Sample) -> list[str]:
    """What its maker noted of a sample that was checked."""
    notes = json.loads(sample.files["meta.json"]).get("notes")
    return [str(note) for note in notes] if isinstance(notes, list) else []


def words_of(caption: str) -> list[str]:
    """The words of a caption, in lower case and without punctuation around them, to be counted."""
    return [word.strip(".,!?\"'").lower() for word in caption.split()]


class Checked(NamedTuple):
    """What `check_sample` read of a sample."""

    meta: Meta
    poses: Poses
    captions: list[str]


def check_sample(sample: Sample, where: str) -> Checked:
    """Check a sample except for its frames, masks and references, which are not decoded: that its
    files are there and right by themselves, and that there is a pose for each frame.

    where: what is in front of the key in errors. Raises UsageError.
    """
    meta = meta_of(sample, where)
    kind = frames_file(sample.files, f"{where}: {sample.key}")
    if kind != CLIP and meta.frames != 1:
        raise UsageError(f"{where}: {sample.key}.meta.json: frames of a picture must be 1")
    captions = captions_of(sample, where)
    poses = poses_of(sample, where)
    if len(poses.keypoints) != meta.frames:
        raise UsageError(
            f"{where}: {sample.key}.pose.json: {len(poses.keypoints)} poses for {meta.frames} "
            "frames; there must be one for each"
        )
    return Checked(meta, poses, captions)
