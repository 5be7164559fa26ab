"""Reading of videos from phones and editors, through PyAV and Pillow; writing is in `writing`.

What a file says of itself (`container`, `color`, `decoding`, `pictures`) is obeyed, or named in a
message.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from PIL import Image
from rich.markup import escape

from animateanywhere.core import messages
from animateanywhere.core.errors import UsageError
from animateanywhere.core.findings import Finding
from animateanywhere.media import container, decoding, pictures
from animateanywhere.media.source import WHOLE, Part, Source, on_gray
from animateanywhere.media.writing import contact_sheet, is_contact_sheet, sheet_frames, write

__all__ = [
    "Video", "check_file", "contact_sheet", "frame_times", "is_contact_sheet", "nearest", "read",
    "read_first", "sheet_frames", "write",
]  # fmt: skip

LONG_SIDE = 1280  # pixels: 64 frames of 4K would be 1.6 GB, of this 0.2 GB
MOST_BYTES = 3 * 2**30  # of all frames, where no number of frames is asked for
FIRST = 64  # frames at PICTURES_FPS, in which a whole one is searched


class Video(NamedTuple):
    """A decoded clip: frames uint8 (F, H, W, 3) RGB in BT.709, upright, at a constant fps.

    Frames that were damaged are not among them: `times` has a gap there.
    """

    frames: np.ndarray
    fps: float
    path: Path
    source_fps: float  # average frames per second of the file
    times: np.ndarray  # (F,) seconds since the first frame of the file
    alpha: np.ndarray | None  # uint8 (F, H, W), 255: opaque; None if all of it is opaque
    length: float | None  # seconds of the whole file, None if it does not tell
    more: bool  # whether something is left after the last frame
    findings: list[Finding]  # what a user should know of the file; `read` has said it
    reached: float = 0.0  # seconds of the last frame that was looked at, also a damaged or lost one


def read(
    path: str | Path,
    max_frames: int | None = None,
    fps: float | None = None,
    size: int = LONG_SIDE,
    part: Part = WHOLE,
) -> Video:
    """Decode a video, an animation, a picture or a folder of pictures (in natural order).

    Edit lists, rotation and mirroring are obeyed, pixels made square, interlaced video is
    deinterlaced, any color space becomes BT.709 (HDR is tone-mapped), transparency is blended with
    gray, and variable frame rates are resampled to a constant one by timestamps. Damaged frames are
    left out. Messages say what was done that a user would not expect.

    Args:
        path: the file or folder.
        max_frames: stop after this number of frames.
        fps: frame rate of the result; None keeps the file's average (pictures: 8).
        size: a longer side than this many pixels is scaled down while decoding.
        part: the part to read.

    Raises:
        UsageError: the file is missing, empty, not a video, has only sound or no undamaged frame,
            or ends before `part.start`.
    """
    path = Path(path)
    limit = min((n for n in (max_frames, part.frames) if n is not None), default=None)
    with _open(path, size, fps, part) as source:
        said = len(source.findings)
        for finding in source.findings:  # of the whole file, before the work
            _say(path, finding)
        target = fps or source.fps
        taken = _take(source, target, part.start, limit)
        wanted = part.start + np.arange(len(taken.frames)) / target
        kept = _undamaged(taken, source, path, wanted)
    lost = [] if source.damage is None or taken.more else source.damage()[1].tolist()
    reached = max([*wanted[-1:].tolist(), *lost], default=part.start)
    seen = source.damage is None or len(source.damage()[0])
    if not taken.frames and part.start and seen:
        last = f"; it lasts {source.length:.1f} s" if source.length else ""
        raise UsageError(f"{path}: nothing is left after {part.start:g} s{last}")
    if not kept:
        raise UsageError(
            f"{path}: contains no frame that can be decoded; it is truncated or damaged"
        )
    whole = [taken.frames[index] for index in kept]
    taken.frames.clear()
    if len({frame.shape[:2] for frame in whole}) > 1:
        height, width = whole[0].shape[:2]
        source.note(f"frames of several sizes, all scaled to {width} x {height}", "warning")
    for finding in source.findings[said:]:
        _say(path, finding)
    frames, alpha = _stack(whole)
    times = part.start + np.array(kept) / target
    return Video(
        frames, target, path, source.fps, times, alpha, source.length, taken.more, source.findings,
        reached,
    )  # fmt: skip


def read_first(path: str | Path, size: int = LONG_SIDE) -> Video:
    """The beginning of a file with a whole frame, for its size and `source_fps`; nothing is said,
    since `read` of all of it says it. Raises as `read`."""
    with messages.quietly():
        try:
            return read(path, max_frames=1, size=size)
        except UsageError:  # damaged at the beginning, where a stream may have been cut
            return read(path, FIRST, pictures.PICTURES_FPS, size)


class Slice(NamedTuple):
    """Consecutive frames of a video of any length."""

    first: int  # number of the first one, since the beginning of the part
    frames: np.ndarray  # uint8 (n, H, W, 3)
    held: np.ndarray  # bool (n,): damaged ones, in whose place the nearest whole one stands


def read_slices(
    path: str | Path, fps: float, count: int, size: int = LONG_SIDE, part: Part = WHOLE
) -> Iterator[Slice]:
    """Decode a video as `read` does, `count` frames at a time: memory does not grow with length.

    No frame is left out, so that the sound stays in time: in the place of a damaged one stands the
    whole one before it, or at the beginning the one after it. Arguments and errors as of `read`.
    """
    path, first = Path(path), 0
    before: np.ndarray | None = None
    with _open(path, size, fps, part) as source:
        for finding in source.findings:
            _say(path, finding)
        said, lost = len(source.findings), 0
        unreadable: dict[int, UsageError] = {}
        timed = islice(nearest(source.pictures, fps, part.start), part.frames)
        shown = _converted(source, timed, unreadable)
        while some := list(islice(shown, count)):
            pixels, numbers, moments = (list(row) for row in zip(*some, strict=True))
            taken = _Taken(pixels, numbers, moments, False, unreadable)
            times = part.start + (first + np.arange(len(some))) / fps
            held = _damaged(taken, source, times)[0]
            whole = np.flatnonzero(~held)
            like = taken.frames[whole[0]] if before is None and len(whole) else before
            frames = _stack(taken.frames, like)[0]
            if before is None and not len(whole) and unreadable:
                raise next(iter(unreadable.values()))
            # Of a stream that was cut at its beginning there is no whole frame yet
            for index in np.flatnonzero(held) if before is not None or len(whole) else ():
                at = int(np.searchsorted(whole, index)) - 1
                near = before if at < 0 else None  # of the slice before
                frames[index] = frames[whole[max(at, 0)]] if near is None else near
            before, lost = frames[-1].copy(), lost + int(held.sum())
            yield Slice(first, frames, held)
            first += len(frames)
        if lost:
            source.note(f"{lost} damaged frames are replaced by those beside them", "warning")
        for finding in source.findings[said:]:
            _say(path, finding)
    if not first:
        last = f"; it lasts {source.length:.1f} s" if source.length else ""
        why = "contains no frame that can be decoded; it is truncated or damaged"
        raise UsageError(
            f"{path}: " + (f"nothing is left after {part.start:g} s{last}" if part.start else why)
        )


def check_file(path: Path) -> None:
    """Raise UsageError where no file or folder can be read again and again: it is missing, empty,
    a pipe or a device."""
    try:
        about = path.stat()
    except OSError:
        raise UsageError(f"{path}: no such file") from None
    if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
        raise UsageError(
            f"{path}: a pipe or device, which can be read only once; save it as a file first"
        )
    if stat.S_ISREG(about.st_mode) and about.st_size == 0:
        raise UsageError(f"{path}: the file is empty")


def frame_times(clip: Video, part: Part = WHOLE) -> np.ndarray:
    """The time in seconds, (N,), of each frame of a clip's file in order, without decoding.

    clip: as read from `part` of the file.
    """
    path = clip.path
    if path.is_dir():
        count = len(pictures.folder_files(path)[0])
        return np.arange(count) / (part.fps or clip.fps)
    if pictures.is_picture(path):
        with pictures.open_animation(path, 16, part) as source:
            return np.array([time for time, _ in source.pictures][:-1])
    with container.open_container(path) as file:
        stream = container.choose_stream(file, path)
        stamps: list[int | None] = []
        with suppress(av.error.FFmpegError):  # a damaged file ends there, as for `read`
            # An edit list may discard frames that are only needed to decode others
            stamps += (p.pts for p in file.demux(stream) if p.size and not p.is_discard)
        untimed = None in stamps or not stamps or not decoding.has_times(file)
        if part.fps or untimed:  # as `read` treats it
            return np.arange(len(stamps)) / (part.fps or decoding.average_fps(stream))
        known = np.sort(np.array(stamps, np.int64))
        return (known - known[0]) * float(stream.time_base or 1)


class _Taken(NamedTuple):
    """Pixels at the places of the result; number and time of the picture that each shows."""

    frames: list[np.ndarray]
    numbers: list[int]
    times: list[float]  # seconds
    more: bool  # stopped before the end
    unreadable: dict[int, UsageError]  # pictures of a folder, by number


def _open(path: Path, size: int, fps: float | None, part: Part) -> AbstractContextManager[Source]:
    if path.is_dir():
        return pictures.open_folder(path, size, part.fps or fps or pictures.PICTURES_FPS)
    check_file(path)
    pictures.require_known_kind(path)
    if pictures.is_picture(path):
        return pictures.open_animation(path, size, part)
    return decoding.open_video(path, size, part)


def _take(source: Source, rate: float, start: float, limit: int | None) -> _Taken:
    """The picture nearest in time to start + k / rate, for each k."""
    frames: list[np.ndarray] = []
    numbers: list[int] = []
    times: list[float] = []
    unreadable: dict[int, UsageError] = {}
    more = False
    timed = nearest(source.pictures, rate, start)
    for pixels, number, time in _converted(source, islice(timed, limit), unreadable):
        frames.append(pixels)
        numbers.append(number)
        times.append(time)
        if limit is None and len(frames) * pixels.nbytes > MOST_BYTES:
            more = True
            source.note(f"only the first {len(frames) / rate:.0f} s fit into memory", "warning")
            break
    more = more or next(timed, None) is not None
    return _Taken(frames, numbers, times, more, unreadable)


def _converted(
    source: Source, timed: Iterator[tuple[int, float, Any]], unreadable: dict[int, UsageError]
) -> Iterator[tuple[np.ndarray, int, float]]:
    """Pixels, number and time of pictures; those of the one before where one cannot be read, which
    is added to `unreadable`."""
    last, pixels, before = -1, None, np.zeros((1, 1, 3), np.uint8)
    for number, time, picture in timed:
        if number != last:
            last = number
            try:
                pixels = source.convert(picture)
            except pictures.MixedSizes:
                raise
            except UsageError as error:
                unreadable[number], pixels = error, None
        before = before if pixels is None else pixels
        yield before, number, time


def nearest(
    timed: Iterator[tuple[float, Any]], rate: float, start: float
) -> Iterator[tuple[int, float, Any]]:
    """For each k, the number, the time and the picture nearest in time to start + k / rate."""
    previous, time, count, number = None, 0.0, 0, -1
    for now, picture in timed:
        if previous is not None:
            middle = (time + now) / 2
            while start + count / rate < middle or (
                picture is not None and start + count / rate == middle
            ):
                yield number, time, previous
                count += 1
        previous, time, number = picture, now, number + 1


def _undamaged(taken: _Taken, source: Source, path: Path, wanted: np.ndarray) -> list[int]:
    """Places of the result, at the times `wanted` (F,), whose pictures are whole. Raises UsageError
    if none is."""
    damaged, count, total = _damaged(taken, source, wanted)
    kept = np.flatnonzero(~damaged).tolist()
    if count and not kept:
        why = next(iter(taken.unreadable.values()), None)
        raise why or UsageError(
            f"{path}: {count} of {total} frames are damaged, or predicted from damaged ones; copy "
            "it again"
        )
    if count:
        source.note(f"{count} of {total} frames are damaged and left out", "warning")
    return kept


def _damaged(taken: _Taken, source: Source, wanted: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Which places of the result, at the times `wanted` (F,), show a damaged picture or a neighbor
    of a lost one, bool (F,); how many of how many pictures are damaged or lost."""
    bad, lost = (np.zeros(0, bool), np.empty(0)) if source.damage is None else source.damage()
    if taken.unreadable:
        bad = np.zeros(max(max(taken.numbers), *taken.unreadable) + 1, bool)
        bad[list(taken.unreadable)] = True
    shown = np.array([number < len(bad) and bool(bad[number]) for number in taken.numbers], bool)
    if len(lost):
        own = np.abs(wanted - np.array(taken.times))
        shown |= np.abs(wanted[:, None] - lost).min(1) < own
    return shown, int(bad.sum()) + len(lost), len(bad) + len(lost)


def _stack(
    frames: list[np.ndarray], like: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Frames (F, H, W, 3), of the size of `like` [default: the first], and alpha (F, H, W), if it
    shows anything. Empties the list, so that all exist only once."""
    height, width = (frames[0] if like is None else like).shape[:2]
    out = np.empty((len(frames), height, width, 3), np.uint8)
    alpha = None
    for index in reversed(range(len(frames))):
        frame = frames.pop()
        if frame.shape[:2] != (height, width):
            picture = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)
            frame = np.array(picture)
        if frame.shape[2] == 4 and frame[..., 3].min() < 255:
            if alpha is None:
                alpha = np.full(out.shape[:3], 255, np.uint8)
            alpha[index] = frame[..., 3]
            frame = on_gray(frame)
        out[index] = frame[..., :3]
    return out, alpha


def _say(path: Path, finding: Finding) -> None:
    tell = messages.warn if finding.level == "warning" else messages.say
    tell(escape(f"{path.name}: {finding.text}"))
