"""Decoding of a video stream that survives damage and says which frames it touches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.buffer import Buffer
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from animateanywhere.core.errors import UsageError, out_of_memory
from animateanywhere.media import color
from animateanywhere.media.container import (
    choose_stream,
    decoder_of,
    missing_bytes,
    open_container,
    unreadable,
    upright,
)
from animateanywhere.media.source import Part, Source

JUMP = 60.0  # seconds between two frames: more is an error in the timestamps
INDEXED = ("mov,", "matroska,")  # formats in which seeking finds a key frame
WORTH_SEEKING = 10.0  # seconds
FASTEST = 240.0  # frames per second: more is an error in the header


@contextmanager
def open_video(path: Path, size: int, part: Part) -> Iterator[Source]:
    """A video file from `part.start` on, at most `size` pixels a side.

    Raises:
        UsageError: it cannot be read as a video.
    """
    with _errors_named(path), open_container(path) as container:
        by = VideoReformatter()
        source = Source(iter(()), lambda frame: _convert(frame, ratio, size, by), 25.0)
        stream = choose_stream(container, path, source)
        ratio = float(stream.sample_aspect_ratio or 1) or 1.0
        source.fps = part.fps or average_fps(stream)
        source.length = _length(container, stream)
        if (missing := missing_bytes(path)) and source.length != 0:
            share = missing / (missing + path.stat().st_size)
            source.note(
                f"truncated: {share:.0%} of the file is missing; what is left is used", "warning"
            )
        damage = Damage()
        source.damage = damage.result
        source.pictures = _timed(container, stream, source, damage, path, part)
        yield source


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    try:
        yield
    except av.error.FFmpegError as error:
        raise UsageError(unreadable(path, error)) from None


def average_fps(stream: av.VideoStream) -> float:
    """The average frame rate of a stream, in frames per second; 25 where it does not tell."""
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    return rate if 0 < rate <= FASTEST else 25.0


def has_times(container: InputContainer) -> bool:
    """Whether a format holds the time of each frame; AVI does not, and what is guessed is wrong
    where frames are coded in another order."""
    return container.format.name != "avi"


class Damage:
    """Which frames are damaged: those that the decoder flags or loses, and, since they are
    predicted from these, all that follow in order of decoding, up to the next key frame."""

    def __init__(self) -> None:
        self.packets: dict[int, tuple[int, bool]] = {}  # by pts: number, is a key frame
        self.shown: list[tuple[int | None, bool, bool]] = []  # pts, is a key frame, is flagged
        self.failed = False  # frames may be lost
        self.ended = False  # all packets are decoded
        self.first, self.unit = 0.0, 1.0  # seconds: of the first frame, of a timestamp's unit

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """For the frames shown whether they are damaged, bool (N,); times (L,) of the frames that
        were lost, in seconds since the first frame of the file."""
        if not self.failed and not any(flagged for _, _, flagged in self.shown):
            return np.zeros(len(self.shown), dtype=bool), np.empty(0)
        order = [self.packets.get(-1 if pts is None else pts) for pts, _, _ in self.shown]
        if None in order:  # no timestamps: the order of showing
            order = [(number, key) for number, (_, key, _) in enumerate(self.shown)]
        known = [place for place in order if place is not None]
        bad = {number for (number, _), (_, _, flagged) in zip(known, self.shown, strict=True)
               if flagged}  # fmt: skip
        lost: dict[int, int] = {}  # pts by number
        if self.failed and known:
            seen = [pts for pts, _, _ in self.shown if pts is not None]
            numbers = {number for number, _ in known}
            lost = {
                number: pts
                for pts, (number, _) in self.packets.items()
                if number not in numbers and seen[0] < pts and (self.ended or pts < max(seen))
            }
        keys = sorted(
            (number, pts if pts is not None else number)
            for (number, key), (pts, _, _) in zip(known, self.shown, strict=True)
            if key
        )
        starts = sorted(bad | set(lost))
        if not starts:
            return np.zeros(len(known), dtype=bool), np.empty(0)
        times = np.array(sorted(lost.values())) * self.unit - self.first
        return np.array([
            self._follows(number, number if pts is None else pts, starts, keys)
            for (number, _), (pts, _, _) in zip(known, self.shown, strict=True)
        ], dtype=bool), times  # fmt: skip

    @staticmethod
    def _follows(number: int, pts: int, starts: list[int], keys: list[tuple[int, int]]) -> bool:
        before = [start for start in starts if start <= number]
        return bool(before) and not any(
            before[-1] < key <= number and shown <= pts for key, shown in keys
        )


def _timed(
    container: InputContainer, stream: av.VideoStream, source: Source, damage: Damage, path: Path,
    part: Part,
) -> Iterator[tuple[float, av.VideoFrame | None]]:  # fmt: skip
    """Frames with their times in seconds since the first frame of the file."""
    unit = stream.time_base or 1
    first = None if stream.start_time is None else float(stream.start_time * unit)
    indexed = container.format.name.startswith(INDEXED)
    if part.start > WORTH_SEEKING and not part.fps and first is not None and indexed:
        with suppress(av.error.FFmpegError):  # then it is decoded from the beginning
            container.seek(int((first + part.start) / unit), stream=stream)
    gap = 1 / source.fps
    even = part.fps or not has_times(container)
    time, shift, count = 0.0, 0.0, 0
    for frame in deinterlaced(decoded(container, stream, damage, path), source):
        if frame.pts is None or even:
            now = count * gap if even else time + gap * bool(count)
        else:
            stamp = float(frame.pts * (frame.time_base or unit))
            first = stamp if first is None else first
            damage.first, damage.unit = first, float(frame.time_base or unit)
            now = stamp - first + shift
            if count and not 0 <= now - time <= JUMP:
                source.note(f"timestamps jump at {time:.1f} s; the gap is closed", "warning")
                shift += time + gap - now
                now = time + gap
        if not count and (text := color.describe(color.colors_of(frame))):
            source.note(text)
        time, count = now, count + 1
        yield now, frame
    yield time + gap, None


def decoded(
    container: InputContainer, stream: av.VideoStream, damage: Damage, path: Path
) -> Iterator[av.VideoFrame]:
    """The frames that a player shows, without those that an edit list hides."""
    decoder = decoder_of(stream)
    error: Exception | None = None
    packets = container.demux(stream)
    number = 0
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as why:  # the container ends here
            if out_of_memory(why):
                raise
            packet, error = None, why
        if packet is not None and packet.size and packet.pts is not None and not packet.is_discard:
            damage.packets[packet.pts] = (number, packet.is_keyframe)
            number += 1
        try:
            frames = decoder.decode(packet if packet is not None and packet.size else None)
        except av.error.EOFError:
            frames = []
        except av.error.FFmpegError as why:
            if out_of_memory(why):
                raise
            frames, error, damage.failed = [], why, True
        for frame in frames:
            damage.shown.append((frame.pts, frame.key_frame, frame.is_corrupt))
            yield frame
        if packet is None or not packet.size:
            damage.ended = True
            break
    if not damage.shown and error is not None:
        raise UsageError(unreadable(path, error)) from error


def deinterlaced(frames: Iterator[av.VideoFrame], source: Source) -> Iterator[av.VideoFrame]:
    """Make whole pictures of frames that are flagged as interlaced (bwdif); others pass."""
    graph, shape = None, None
    for frame in frames:
        own = (frame.width, frame.height, frame.format.name)
        if graph is not None and own != shape:
            yield from _pull(graph, None)
            graph = None
        if graph is None and frame.interlaced_frame:
            source.note("interlaced video, deinterlaced")
            graph, shape = _graph(frame), own
        if graph is None:
            yield frame
        else:
            yield from _pull(graph, frame)
    if graph is not None:
        yield from _pull(graph, None)


def _graph(frame: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.link_nodes(
        graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        ),
        graph.add("bwdif", "mode=send_frame:deint=interlaced"),
        graph.add("buffersink"),
    ).configure()
    return graph


def _pull(graph: av.filter.Graph, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
    graph.vpush(frame)
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _length(container: InputContainer, stream: av.VideoStream) -> float | None:
    """Seconds that a file says it lasts."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _convert(frame: av.VideoFrame, ratio: float, size: int, by: VideoReformatter) -> np.ndarray:
    """uint8 (H, W, 3 or 4): square pixels, no side longer than size, upright."""
    width, height = frame.width * ratio, float(frame.height)
    scale = min(1.0, size / max(width, height))
    pixels = color.to_rgb(frame, max(round(width * scale), 1), max(round(height * scale), 1), by)
    matrix = cast(Buffer | None, frame.side_data.get("DISPLAYMATRIX"))
    return upright(pixels, None if matrix is None else bytes(matrix))
