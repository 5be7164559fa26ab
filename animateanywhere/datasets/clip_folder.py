"""A folder of clips and pictures with poses and captions beside them, as samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.datasets.samples import CLIP, PICTURES
from animateanywhere.datasets.shards import Sample
from animateanywhere.media.pictures import PICTURE_SUFFIXES
from animateanywhere.pose.skeleton import read_poses

GROUP = 64  # samples that are encoded to one shard


@dataclass(frozen=True)
class ClipFolder:
    """name.mp4 or a picture (name.png, ...), with name.poses.json and name.txt (captions, one a
    line) beside each. Its sizes and lengths are those that the poses say."""

    folder: Path
    paths: list[Path]  # of clips and pictures
    sizes: np.ndarray  # (N, 2) int32: width and height in pixels
    frames: np.ndarray  # (N,) int32
    fps: np.ndarray  # (N,) float64

    def __len__(self) -> int:
        return len(self.paths)

    def key(self, number: int) -> str:
        """The name of a sample in the folder."""
        return self.paths[number].name

    def name(self, number: int, file: str) -> str:
        """Where a file of a sample is, for messages."""
        return str(self._path(number, file))

    def files(self, number: int) -> list[str]:
        """The names of a sample's files."""
        kind = CLIP if self.paths[number].suffix == ".mp4" else PICTURES[1]
        return ["caption.txt", kind, "pose.json"]

    def groups(self) -> list[range]:
        """The numbers of samples that are encoded together."""
        return [range(start, min(start + GROUP, len(self))) for start in range(0, len(self), GROUP)]

    def fingerprint(self, group: int) -> str:
        """A hash of the names, sizes and times of the files of a group."""
        paths = [self._path(number, file) for number in self.groups()[group]
                 for file in self.files(number)]  # fmt: skip
        about = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        return hashlib.sha256(repr(about).encode()).hexdigest()

    def read(self, number: int, files: Iterable[str] | None = None) -> Sample:
        """A sample, with all its files or only `files`. Raises UsageError if one is missing."""
        found = {}
        for name in self.files(number) if files is None else files:
            if name in self.files(number):
                path = self._path(number, name)
                try:
                    found[name] = path.read_bytes()
                except OSError as error:
                    raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
        return Sample(self.key(number), found)

    def _path(self, number: int, file: str) -> Path:
        beside = {"caption.txt": ".txt", "pose.json": ".poses.json"}
        path = self.paths[number]
        return path.with_suffix(beside[file]) if file in beside else path


def open_folder(folder: Path) -> ClipFolder:
    """Open a folder of clips and pictures. Pictures without poses and captions, such as a contact
    sheet, are left out.

    Raises UsageError if a clip lacks poses or captions, or there is nothing to learn from.
    """
    paths = []
    for path in sorted(folder.glob("*")):
        picture = path.suffix.lower() in PICTURE_SUFFIXES
        if path.stem.endswith(".masks") or not (path.suffix == ".mp4" or picture):
            continue
        text, poses = path.with_suffix(".txt"), path.with_suffix(".poses.json")
        there = text.is_file(), poses.is_file()
        if all(there):
            paths.append(path)
        elif not picture or any(there):
            raise UsageError(f"{path} needs the files {poses.name} and {text.name} beside it")
    if not paths:
        raise UsageError(
            f"{folder} contains no clip or picture with poses and captions; fill it with `aa "
            "puppets`, or give the folder of a corpus of shards"
        )
    for one, other in pairwise(sorted(paths, key=lambda path: path.stem)):
        if one.stem == other.stem:
            raise UsageError(f"{one} and {other.name} would share one {one.stem}.txt; rename one")
    found = [read_poses(path.with_suffix(".poses.json")) for path in paths]
    pictures = [path.suffix != ".mp4" for path in paths]
    return ClipFolder(
        folder, paths,
        np.array([[pose.width, pose.height] for pose in found], np.int32),
        np.array([1 if single else len(pose.keypoints)
                  for pose, single in zip(found, pictures, strict=True)], np.int32),
        np.array([pose.fps for pose in found], np.float64),
    )  # fmt: skip
