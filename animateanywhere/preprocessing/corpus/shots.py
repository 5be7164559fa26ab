"""Cut detection: the shots of a video, cut into pieces of the length of a corpus's clips."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.core.messages import reporting_to
from animateanywhere.core.reporter import Events
from animateanywhere.media import video
from animateanywhere.media.container import missing_bytes
from animateanywhere.media.pictures import is_picture
from animateanywhere.media.source import Part
from animateanywhere.preprocessing.corpus.source import (
    Frames,
    Piece,
    Rejection,
    Source,
    unexpected,
)
from animateanywhere.preprocessing.quality import footage
from animateanywhere.preprocessing.quality.clip import cut_frames

CHUNK = 1024  # frames that are looked at at once
BLACK = 24.0  # luma of 255 that nearly no pixel of a black frame exceeds
BRIGHTEST = 0.995  # share of the pixels that are looked at for it
REASONS = {
    "black frames": "{count} black frames", "damaged frames": "{count} damaged frames",
    "too short": "a shot of {count} frames at {fps:g} a second; {needed} are needed",
}  # fmt: skip


class Shots(NamedTuple):
    """Pieces of a source, and what of it is left out."""

    pieces: list[Piece]
    rejections: list[Rejection]


class Look(NamedTuple):
    """A video at a small size: color changes (F - 1,) between its frames, which of them are black,
    bool (F,), and when they are shown, int (F,), in frames since the beginning of the part; total:
    frames that it would have if none was damaged or missing. damage: why there are no more, if the
    video goes on."""

    changes: np.ndarray
    black: np.ndarray
    places: np.ndarray
    total: int
    damage: str = ""


class ShotFinder:
    """`find_shots` for many sources, without messages: what is read is said later. A source at
    which something unexpected fails is a rejection."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames

    def __call__(self, source: Source) -> Shots:
        with reporting_to(Events()):
            try:
                return find_shots(source, self.frames)
            except Exception as error:  # a file may make a library raise whatever it meets
                return Shots([], [source.rejected("failed", unexpected(source, error))])


def find_shots(source: Source, frames: Frames) -> Shots:
    """The pieces of a source, in order: a picture as it is; a video by its cuts, without black
    frames, each shot in equal parts of at most `frames.most` frames.

    Black and damaged stretches, and shots of fewer than `frames.fewest` frames, are rejections, and
    so is a source that cannot be read.
    """
    if source.path is None:
        return Shots([Piece(source, 0.0, frames.fewest)], [])
    try:
        look = look_through(source, frames.fps)
        if len(look.places) == 1 and is_picture(source.path):
            return Shots([Piece(source, source.start, 1)], [])
    except UsageError as error:
        where = f" ({source.line})" if source.line else ""
        return Shots([], [source.rejected("unreadable", source.named(error) + where)])
    pieces: list[Piece] = []
    rejections: list[Rejection] = []
    for first, count, reason in stretches(look):
        start = source.start + first / frames.fps
        if not reason and count < frames.fewest:
            reason = "too short"
        if reason:
            text = REASONS[reason].format(count=count, fps=frames.fps, needed=frames.fewest)
            seconds = round(count / frames.fps, 3)
            rejections.append(Rejection(source.name, round(start, 3), seconds, reason, text))
            continue
        for place, length in equal_parts(count, frames.most):
            begin = source.start + (first + place) / frames.fps
            pieces.append(Piece(source, round(begin, 6), length))
    if look.damage:
        start = round(source.start + (int(look.places[-1]) + 1) / frames.fps, 3)
        rest = None if source.end is None else round(source.end - start, 3)
        text = source.named(look.damage)
        rejections.append(Rejection(source.name, start, rest, "damaged frames", text))
    return Shots(pieces, rejections)


def look_through(source: Source, fps: float) -> Look:
    """Decode a video at a small size and `fps`, some hundred frames at once.

    Raises UsageError if it cannot be read.
    """
    assert source.path is not None
    changes, black, times = [], [], []
    last, at, damage = None, source.start, ""
    while True:
        left = CHUNK if source.end is None else int((source.end - at) * fps + 1e-6)
        count = min(CHUNK, left)
        if not count:
            break
        try:
            read = video.read(source.path, fps=fps, size=footage.SMALL, part=Part(at, count))
        except UsageError as error:
            if last is None:
                raise
            damage = str(error)  # the frames before said that there are more
            break
        frames = read.frames if last is None else np.concatenate([last, read.frames])
        changes.append(footage.color_changes(frames))
        bright = np.quantile(footage.gray(read.frames), BRIGHTEST, axis=(1, 2))
        black.append(bright < BLACK)
        times.append(read.times)
        last, at = read.frames[-1:], at + count / fps
        if not read.more:
            break
    if not times:
        raise UsageError(f"{source.path}: no frame from {source.start:g} to {source.end:g} s")
    places = np.round((np.concatenate(times) - source.start) * fps).astype(int)
    reached = read.reached
    if not damage and not read.more and read.length and missing_bytes(source.path):
        reached = max(reached, read.length - 1 / read.source_fps)  # of a truncated file
    if source.end is not None:
        reached = min(reached, source.end - 1 / fps)
    total = max(round((reached - source.start) * fps), int(places[-1])) + 1
    return Look(np.concatenate(changes), np.concatenate(black), places, total, damage)


def stretches(look: Look) -> list[tuple[int, int, str]]:
    """First frame, number of frames and, where they are left out, the reason ("black frames",
    "damaged frames") of all stretches of a video between cuts."""
    places, black = look.places, look.black
    new = np.ones(len(places), dtype=bool)
    new[1:] = (np.diff(black.astype(int)) != 0) | (np.diff(places) > 1)
    new[cut_frames(look.changes)] = True
    starts = np.flatnonzero(new)
    out = []
    expected = 0
    for start, stop in pairwise([*starts.tolist(), len(places)]):
        first = int(places[start])
        if first > expected:
            out.append((expected, first - expected, "damaged frames"))
        out.append((first, stop - start, "black frames" if black[start] else ""))
        expected = int(places[stop - 1]) + 1
    if look.total > expected and not look.damage:
        out.append((expected, look.total - expected, "damaged frames"))
    return out


def equal_parts(count: int, most: int) -> list[tuple[int, int]]:
    """Start and length of the fewest equal parts of `count` frames, of at most `most` each."""
    edges = np.linspace(0, count, -(-count // most) + 1).round().astype(int).tolist()
    return [(a, b - a) for a, b in pairwise(edges)]
