"""What a corpus is built from: sources, the pieces of them, and what is set aside."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from animateanywhere.core.frame_size import Size, bucket, nearest_size
from animateanywhere.preprocessing.backends import Backends

STRIDE = 16  # pixels: UNets take multiples of 8, Wan's transformer of 16
LONGEST = 4  # times the frames that a base learns at once: training draws its frames from a clip
FEWEST = 8  # frames: a clip can be this short where a base learns fewer at once


class Rejection(NamedTuple):
    """A source, or a piece of one, that is set aside: one line of rejected.jsonl."""

    source: str  # its name
    start: float  # seconds
    seconds: float | None  # None: all that follows
    reason: str  # short, to be counted
    text: str  # what was found


@dataclass(frozen=True)
class Source:
    """A video, a picture or a puppet.

    path: of the file; of a puppet None. name: of the file within the input, as users read it.
    captions, references: from a manifest, or else beside the file. line: of the manifest.
    start, end: the part to use, in seconds. puppet: its number. number: of several sources with
    one name.
    """

    name: str
    path: Path | None = None
    captions: tuple[str, ...] = ()
    license: str = ""
    start: float = 0.0
    end: float | None = None
    references: tuple[Path, ...] = ()
    line: str = ""  # such as "clips.csv, line 3"
    puppet: int | None = None
    number: int = 1

    @property
    def id(self) -> str:
        """The name, with the number where it is not the first of this name."""
        return self.name if self.number == 1 else f"{self.name} ({self.number})"

    def named(self, error: Exception | str) -> str:
        """A message with the name of the file in place of its path: a corpus is passed on."""
        return str(error).replace(str(self.path), self.name)

    def rejected(self, reason: str, text: str) -> Rejection:
        """All of this source, set aside."""
        seconds = None if self.end is None else self.end - self.start
        return Rejection(self.name, self.start, seconds, reason, text)


@dataclass(frozen=True)
class Piece:
    """A stretch of one shot of a source, which becomes one sample; frames 1: a picture."""

    source: Source
    start: float  # seconds since the first frame of the file
    frames: int  # at `Frames.fps`

    @property
    def key(self) -> str:
        """Name of the sample: readable, of plain ASCII, and another for each piece."""
        stem = re.sub(r"[^a-z0-9]+", "-", Path(self.source.name).stem.lower()).strip("-")[:32]
        # Not each file name is UTF-8 text
        digest = hashlib.sha256(self.source.id.encode(errors="surrogateescape")).hexdigest()[:10]
        return f"{stem or 'clip'}-{digest}-{round(self.start * 1000):08d}"

    def rejected(self, reason: str, text: str, fps: float) -> Rejection:
        """This piece, set aside. fps: its frame rate."""
        seconds = round(self.frames / fps, 3) if self.frames > 1 else 0.0
        return Rejection(self.source.name, self.start, seconds, reason, text)


@dataclass(frozen=True)
class Frames:
    """The frames of a corpus, as a base learns them.

    sizes: one for each aspect ratio (bucket). fewest: a shorter clip is set aside.
    """

    sizes: tuple[Size, ...]
    fps: float
    fewest: int
    most: int

    def nearest(self, source: Size) -> Size:
        """The size whose aspect ratio is nearest to that of a source."""
        return self.sizes[nearest_size(source, self.sizes)]


def frames_of(side: int, fps: float, frames: int, aspects: tuple[float, ...]) -> Frames:
    """The frames of a corpus for a base.

    Args:
        side: of the base's square frames, in pixels.
        fps: frame rate.
        frames: that the base learns at once.
        aspects: width over height of the buckets.
    """
    sizes = tuple(dict.fromkeys(bucket(aspect, side, STRIDE) for aspect in aspects))
    return Frames(sizes, fps, max(frames, FEWEST), LONGEST * max(frames, FEWEST))


@dataclass(frozen=True)
class Settings:
    """How the pieces are made samples. seed: of puppets."""

    frames: Frames
    backends: Backends = field(default_factory=Backends)
    seed: int = 0


class Unfit(Exception):
    """A source or piece cannot be a sample: a short reason, and what was found."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def unexpected(source: Source, error: Exception) -> str:
    """An error of no known kind, in one line."""
    return f"{type(error).__name__}: {' '.join(source.named(error).split())[:200]}"
