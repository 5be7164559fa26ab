"""Clips and pictures from bytes in memory, as samples of a corpus have them, in a wanted frame."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
from av.buffer import Buffer
from av.video.reformatter import VideoReformatter
from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.media import color, container, decoding, pictures
from animateanywhere.media.source import on_gray
from animateanywhere.media.video import nearest


class Crop(NamedTuple):
    """A picture scaled to `scaled`, of which the rectangle of `size` at left and top is taken."""

    scaled: Size
    size: Size
    left: int = 0
    top: int = 0

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """The rectangle of frames (..., H, W, C) of the size `scaled`."""
        rows = slice(self.top, self.top + self.size.height)
        return pixels[..., rows, self.left : self.left + self.size.width, :]


def cover(source: Size, size: Size, middle: tuple[float, float] = (0.5, 0.5)) -> Crop:
    """The crop that fills `size` with as much of a picture of `source` as there is room for.

    middle: the point, as shares of width and height, that the crop is centered on as far as it
    stays inside.
    """
    factor = max(size.width / source.width, size.height / source.height)
    scaled = Size(*(max(round(side * factor), least)
                    for side, least in zip(source, size, strict=True)))  # fmt: skip
    places = [
        min(max(round(share * whole - part / 2), 0), whole - part)
        for share, whole, part in zip(middle, scaled, size, strict=True)
    ]
    return Crop(scaled, size, *places)


def decode_picture(data: bytes, where: str, crop: Callable[[Size], Crop]) -> np.ndarray:
    """A picture, uint8 (H, W, 3), as cropped by the function of its size. Raises UsageError, which
    names `where`, if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as picture:
                if picture.width * picture.height > pictures.MAX_PIXELS:
                    raise UsageError(f"{where}: {picture.width} x {picture.height} pixels are too "
                                     "many; scale it down")  # fmt: skip
                enough = 2 * max(crop(Size(*picture.size)).scaled)  # JPEG is decoded that small
                pixels = pictures.to_pixels(picture, enough)
    except UsageError:
        raise
    except Exception as error:  # damaged files make Pillow's plugins raise whatever they meet
        text = " ".join(str(error).split())
        raise UsageError(f"{where}: cannot be read as a picture ({text})") from None
    pixels = on_gray(pixels) if pixels.shape[2] == 4 else pixels
    part = crop(Size(pixels.shape[1], pixels.shape[0]))
    whole = Image.fromarray(pixels).resize(part.scaled, Image.Resampling.LANCZOS)
    return part.of(np.array(whole))


def decode_clip(
    data: bytes, where: str, fps: float, crop: Callable[[Size], Crop], threads: int = 1
) -> Iterator[np.ndarray]:
    """The frames of a clip at `fps`, uint8 (H, W, 3), one by one, as cropped by the function of
    their size.

    Raises UsageError, which names `where`, if it cannot be read; at the end also if any frame was
    damaged.
    """
    path = Path(where)
    try:
        # A name and no protocols: nothing but these bytes is read, whatever they refer to
        with closing(av.open(io.BytesIO(data), "r", metadata_errors="replace",
                             options={"protocol_whitelist": ""})) as file:  # fmt: skip
            stream = container.choose_stream(file, path)
            stream.codec_context.thread_count = threads
            damage = decoding.Damage()
            ratio, by = float(stream.sample_aspect_ratio or 1) or 1.0, VideoReformatter()
            frames = decoding.decoded(file, stream, damage, path)
            last, pixels = -1, None
            for number, _, frame in nearest(_timed(frames, stream), fps, 0):
                if number != last or pixels is None:
                    last, pixels = number, _convert(frame, ratio, crop, by)
                yield pixels
            bad, lost = damage.result()
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        raise UsageError(container.unreadable(path, error)) from None
    if count := int(bad.sum()) + len(lost):
        raise UsageError(f"{where}: {count} of {len(bad) + len(lost)} frames are damaged")
    if pixels is None:
        raise UsageError(f"{where}: contains no frame that can be decoded")


def _timed(
    frames: Iterator[av.VideoFrame], stream: av.VideoStream
) -> Iterator[tuple[float, av.VideoFrame | None]]:
    """Frames with their seconds since the first one, and at last the time at which it ends."""
    gap = 1 / decoding.average_fps(stream)
    first, time = None, -gap
    for frame in frames:
        unit = frame.time_base or stream.time_base
        if frame.pts is None or unit is None:
            time += gap
        else:
            stamp = float(frame.pts * unit)
            first = stamp if first is None else first
            time = stamp - first
        yield time, frame
    yield time + gap, None


def _convert(
    frame: av.VideoFrame, ratio: float, crop: Callable[[Size], Crop], by: VideoReformatter
) -> np.ndarray:
    """Scale, convert, turn upright and crop a frame whose pixels are `ratio` times as wide as
    high."""
    found = cast(Buffer | None, frame.side_data.get("DISPLAYMATRIX"))
    matrix = None if found is None else bytes(found)
    turned = container.is_turned(matrix)
    shown = Size(max(round(frame.width * ratio), 1), frame.height)
    part = crop(Size(*reversed(shown)) if turned else shown)
    scaled = Size(*reversed(part.scaled)) if turned else part.scaled
    pixels = color.to_rgb(frame, *scaled, by)
    pixels = container.upright(pixels, matrix)
    return on_gray(part.of(pixels)) if pixels.shape[2] == 4 else part.of(pixels)
