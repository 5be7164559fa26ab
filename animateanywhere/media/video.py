"""Reading of videos from phones and editors, and writing of H.264 for any player, through PyAV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from animateanywhere.core import messages
from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside

PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
PICTURES_FPS = 8.0
COLUMNS = 8  # of a contact sheet
TRANSPARENT_GRAY = 128  # shown through transparent pixels
LONG_SIDE = 1280  # pixels: 64 frames of 4K would be 1.6 GB, of this 0.2 GB


class Video(NamedTuple):
    """A decoded clip: frames uint8 (F, H, W, 3) RGB, upright, at a constant fps."""

    frames: np.ndarray
    fps: float
    path: Path


def read(
    path: str | Path, max_frames: int | None = None, fps: float | None = None, size: int = LONG_SIDE
) -> Video:
    """Decode a video, a GIF, a picture or a folder of pictures (sorted by name).

    Rotation flags are applied, pixels made square, transparency is blended with gray, and variable
    frame rates are resampled to a constant one by timestamps.

    Args:
        path: the file or folder.
        max_frames: stop after this number of frames.
        fps: frame rate of the result; None keeps the file's average (pictures: 8).
        size: a longer side than this many pixels is scaled down while decoding.

    Raises:
        UsageError: the file is missing, empty, truncated, not a video, or has only sound.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix.lower() in PICTURE_SUFFIXES)[
            :max_frames
        ]
        if not files:
            raise UsageError(f"{path}: a folder without pictures; give a video file")
        pictures = [_read_picture(file, size) for file in files]
        return Video(_same_size(pictures), fps or PICTURES_FPS, path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise UsageError(f"{path}: the file is empty")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return Video(_read_picture(path, size)[None], fps or PICTURES_FPS, path)
    try:
        with _open(path) as container:
            stream = _stream(container, path)
            target_fps = fps or float(stream.average_rate or stream.guessed_rate or 25)
            frames: list[np.ndarray] = []
            last = None
            for frame in _resample(container, stream, target_fps, path):
                frames.append(frames[-1] if frame is last else _upright(frame, stream, size))
                last = frame
                if len(frames) == max_frames:
                    break
    except av.error.FFmpegError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(
            f"{path}: cannot be read as a video ({reason}); it is truncated, damaged or not a "
            "video file"
        ) from None
    if not frames:
        raise UsageError(
            f"{path}: contains no frame that can be decoded; it is truncated or damaged"
        )
    return Video(_same_size(frames), target_fps, path)


def rate(path: Path) -> float:
    """The average frame rate of a video file, in frames per second."""
    with _open(path) as container:
        stream = _stream(container, path)
        return float(stream.average_rate or stream.guessed_rate or 25)


def times(path: Path) -> np.ndarray:
    """The time in seconds, (N,), of each frame of a video file in order, without decoding."""
    with _open(path) as container:
        stream = _stream(container, path)
        packets = [packet for packet in container.demux(stream) if packet.size]
        # An edit list may discard frames that are only needed to decode others
        stamps = sorted(packet.pts for packet in packets
                        if packet.pts is not None and not packet.is_discard)  # fmt: skip
        if not stamps:  # as `read` treats a file without timestamps
            return np.arange(len(packets)) / float(stream.average_rate or 25)
        return np.array(stamps) * float(stream.time_base or 1)


def write(path: str | Path, frames: Iterable[np.ndarray], fps: float, crf: int = 17) -> None:
    """Write frames, an array or iterable of uint8 (H, W, 3), as H.264 mp4 for streaming.

    Odd sizes are padded by repeating the edge. The same frames give the same bytes. The file is
    written completely or not at all. crf: quality of libx264, lower is better.
    """
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None or first.ndim != 3 or first.shape[-1] != 3 or first.dtype != np.uint8:
        found = "none" if first is None else f"{first.dtype} {first.shape}"
        raise ValueError(f"frames must be uint8 (H, W, 3), got {found}")
    height, width = first.shape[:2]
    room = ((0, height % 2), (0, width % 2), (0, 0))
    with write_aside(path) as tmp:
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with av.open(f"file:{tmp}", "w", format="mp4", container_options=options) as container:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            stream.height, stream.width = height + height % 2, width + width % 2
            stream.pix_fmt = "yuv420p"
            # One thread and no encoder banner: the bytes do not depend on machine or build
            stream.codec_context.thread_count = 1
            stream.codec_context.flags |= av.codec.context.Flags.bitexact
            # With frames of 32 pixels the macroblock tree reads uninitialized memory
            stream.options = {"crf": str(crf), "preset": "medium", "x264-params": "mbtree=0"}
            for picture in chain([first], pictures):
                whole = np.ascontiguousarray(np.pad(picture, room, mode="edge"))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(whole, format="rgb24")))
            container.mux(stream.encode())


def contact_sheet(
    path: str | Path,
    rows: Sequence[tuple[str, np.ndarray]],
    columns: int = COLUMNS,
    cell: int = 160,
) -> None:
    """Write a PNG with one labeled row for each (label, frames uint8 (F, H, W, 3)).

    A row shows up to `columns` frames, evenly spread over the clip, each `cell` pixels high.
    """
    font = ImageFont.load_default(size=14)
    strips = []
    for label, frames in rows:
        picked = sheet_frames(len(frames), columns)
        width = max(round(frames.shape[2] * cell / frames.shape[1]), 1)
        strip = Image.new("RGB", ((width + 4) * len(picked) + 4, cell + 26), "white")
        for place, index in enumerate(picked):
            picture = Image.fromarray(frames[index]).resize((width, cell), Image.Resampling.LANCZOS)
            strip.paste(picture, (4 + place * (width + 4), 22))
        ImageDraw.Draw(strip).text((4, 2), label, fill="black", font=font)
        strips.append(strip)
    sheet = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    with write_aside(path) as tmp:
        sheet.save(tmp, format="PNG", compress_level=3)  # a tenth larger, four times as fast
    messages.picture(Path(path))


def sheet_frames(count: int, columns: int = COLUMNS) -> np.ndarray:
    """Indices of the frames that a contact sheet shows of a clip of `count` frames."""
    return np.linspace(0, count - 1, min(columns, count)).round().astype(int)


def _open(path: Path) -> av.container.InputContainer:
    # file: so that a colon does not start a protocol; titles may have any encoding
    return av.open(f"file:{path}", metadata_errors="replace")


def _stream(container: av.container.InputContainer, path: Path) -> av.VideoStream:
    if container.format.name == "tty":  # ffmpeg draws any text file as a terminal
        raise UsageError(f"{path}: a text file, not a video")
    cover = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        found = "only sound" if container.streams.audio else "no video"
        raise UsageError(f"{path}: contains {found}; give a file with a video stream")
    streams[0].thread_type = "AUTO"
    return streams[0]


def _resample(
    container: av.container.InputContainer, stream: av.VideoStream, rate: float, path: Path
) -> Iterator[av.VideoFrame]:
    """Yield, for each k, the frame nearest in time to start + k / rate."""
    gap = 1 / float(stream.average_rate or rate)  # duration of the last frame
    previous, time, start, count, decoded = None, 0.0, 0.0, 0, 0
    for frame in container.decode(stream):
        # In files without timestamps, frames are assumed to be evenly spaced
        now = frame.time if frame.time is not None else decoded * gap
        if previous is None:
            start = now
        else:
            while start + count / rate <= (time + now) / 2:
                yield previous
                count += 1
        previous, time, decoded = frame, now, decoded + 1
    # A moov box at the start has the number of frames before a truncation
    if decoded < 0.9 * stream.frames - 2:
        raise UsageError(
            f"{path}: truncated: only {decoded} of its {stream.frames} frames exist; copy it again"
        )
    while previous is not None and start + count / rate < time + gap / 2:
        yield previous
        count += 1


def _upright(frame: av.VideoFrame, stream: av.VideoStream, size: int) -> np.ndarray:
    """uint8 (H, W, 3): square pixels, no side longer than size, rotated as the file says."""
    squeeze = float(stream.sample_aspect_ratio or 1) or 1.0
    width, height = frame.width * squeeze, float(frame.height)
    scale = min(1.0, size / max(width, height))
    width, height = max(round(width * scale), 1), max(round(height * scale), 1)
    clear = frame.format.name == "pal8" or any(part.is_alpha for part in frame.format.components)
    picture = frame.reformat(width, height, "rgba" if clear else "rgb24", interpolation="AREA")
    pixels = picture.to_ndarray()
    pixels = _on_gray(pixels) if clear else pixels
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _on_gray(pixels: np.ndarray) -> np.ndarray:
    alpha = pixels[..., 3:].astype(np.float32) / 255
    return (pixels[..., :3] * alpha + TRANSPARENT_GRAY * (1 - alpha) + 0.5).astype(np.uint8)


def _read_picture(path: Path, size: int) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (size, size))
            upright = ImageOps.exif_transpose(picture)
            upright.thumbnail((size, size), Image.Resampling.LANCZOS)
            return _on_gray(np.array(upright.convert("RGBA")))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: cannot be read as a picture ({error})".splitlines()[0]) from None


def _same_size(frames: list[np.ndarray]) -> np.ndarray:
    """Stack frames (F, H, W, 3); those of another size than the first are resized to it."""
    height, width = frames[0].shape[:2]
    return np.stack([
        frame if frame.shape[:2] == (height, width)
        else np.array(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))
        for frame in frames
    ])  # fmt: skip
