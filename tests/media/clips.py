"""Small test clips with fields that phones, cameras and editors write, byte by byte if need be."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image


def patches(rows: int = 4, columns: int = 6, size: int = 16, seed: int = 0) -> np.ndarray:
    """A chart of random colors: uint8 (rows * size, columns * size, 3)."""
    colors = np.random.default_rng(seed).integers(10, 245, (rows, columns, 3), dtype=np.uint8)
    return colors.repeat(size, 0).repeat(size, 1)


def moving_square(frames: int = 24, height: int = 64, width: int = 96) -> np.ndarray:
    """A white square that goes right over smooth colors, uint8 (F, H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    ground = np.stack([x * 2, y * 3, 255 - x * 2], -1).clip(0, 255).astype(np.uint8)
    out = np.repeat(ground[None], frames, 0)
    for index in range(frames):
        out[index, 20:40, 3 * index : 3 * index + 20] = 250
    return out


def encode(
    path: Path,
    frames: np.ndarray,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: int = 30,
    colors: tuple[int, int, int, int] | None = None,
    source: str = "rgb24",
    matrix: int | None = None,
    options: dict[str, str] | None = None,
    streams: int = 1,
    of_file: dict[str, str] | None = None,
    **of_stream: Any,
) -> Path:
    """Write a clip. colors: tags of matrix, primaries, transfer and range; matrix: the one used,
    of swscale, if it is not that of the tags."""
    with av.open(str(path), "w", options=of_file or {}) as container:
        stream = container.add_stream(codec, rate=fps, options={"threads": "1", **(options or {})})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        for name, value in of_stream.items():
            setattr(stream.codec_context, name, value)
        if colors is not None:
            context = stream.codec_context
            context.colorspace, context.color_primaries, context.color_trc = colors[:3]
            context.color_range = colors[3]
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format=source)
            if pix_fmt != source:
                frame = frame.reformat(
                    format=pix_fmt, interpolation="AREA",
                    dst_colorspace=matrix or (colors[0] if colors else None),
                    dst_color_range=colors[3] if colors else None,
                )  # fmt: skip
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def find_box(data: bytes, *names: bytes) -> int:
    """Where the box of this path of names starts in an MP4."""
    start, stop = 0, len(data)
    for name in names:
        while True:
            size, kind = struct.unpack(">I4s", data[start : start + 8])
            if kind == name:
                break
            start += size
            assert start < stop, name
        place, start, stop = start, start + 8, start + size
    return place


def with_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Set the matrix of the track of an MP4: numbers -1, 0 or 1."""
    data = bytearray(path.read_bytes())
    place = find_box(data, b"moov", b"trak", b"tkhd") + 8 + 40
    data[place : place + 36] = struct.pack(
        ">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30
    )
    path.write_bytes(data)


def with_edit_list(path: Path, first: int, count: int, fps: int) -> None:
    """Let an MP4 whose moov box is last show `count` frames from number `first` on."""
    data = path.read_bytes()
    moov = find_box(data, b"moov")
    assert moov + struct.unpack(">I", data[moov : moov + 4])[0] == len(data)
    mdhd = find_box(data, b"moov", b"trak", b"mdia", b"mdhd")
    elst = find_box(data, b"moov", b"trak", b"edts", b"elst")
    unit = struct.unpack(">I", data[mdhd + 20 : mdhd + 24])[0]
    delay = struct.unpack(">i", data[elst + 20 : elst + 24])[0]  # of B-frames
    movie = struct.unpack(">I", data[find_box(data, b"moov", b"mvhd") + 20 :][:4])[0]
    entry = struct.pack(">IiI", count * movie // fps, delay + first * unit // fps, 1 << 16)
    out = bytearray(data)
    out[elst + 16 : elst + 28] = entry
    path.write_bytes(out)


def with_alpha_webm(path: Path, frames: np.ndarray, codec: str) -> Path:
    """VP8 or VP9 with alpha, as WebM holds it: uint8 frames (F, H, W, 4)."""
    return encode(path, frames, codec, "yuva420p", source="rgba", options={"auto-alt-ref": "0"})


def animation(path: Path, frames: np.ndarray, kind: str, delay: int = 100) -> Path:
    """GIF, PNG or WEBP with `delay` milliseconds a frame."""
    first, *rest = (Image.fromarray(frame) for frame in frames)
    first.save(path, format=kind, save_all=True, append_images=rest, duration=delay, loop=0,
               lossless=True, disposal=2)  # fmt: skip
    return path


def error(left: np.ndarray, right: np.ndarray) -> float:
    """Mean absolute difference of two arrays of bytes."""
    return float(np.abs(left.astype(int) - right).mean())
