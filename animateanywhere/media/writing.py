"""Writing of videos for any player, and of contact sheets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image, ImageDraw, ImageFont

from animateanywhere.core import messages
from animateanywhere.core.files import write_aside
from animateanywhere.media.color import EXACT
from animateanywhere.media.provenance import Made, complete, png_texts

COLUMNS = 8  # of a contact sheet
SHEET = "AnimateAnywhere: contact sheet"


class Codec(NamedTuple):
    """How a kind of video file is encoded."""

    container: str
    name: str  # of the encoder
    options: dict[str, str]
    container_options: dict[str, str]


def h264(crf: int = 17) -> Codec:
    """H.264 in MP4 for streaming; crf: quality of libx264, lower is better."""
    # With frames of 32 pixels the macroblock tree reads uninitialized memory
    options = {"crf": str(crf), "preset": "medium", "x264-params": "mbtree=0"}
    return Codec("mp4", "libx264", options, {"movflags": "+faststart"})


# VP9 in WebM, of constant quality
VP9 = Codec(
    "webm", "libvpx-vp9", {"crf": "24", "b": "0", "cpu-used": "2", "row-mt": "0"}, {}
)  # fmt: skip


def write(path: str | Path, frames: Iterable[np.ndarray], fps: float, crf: int = 17) -> None:
    """`encode` by H.264 in MP4."""
    encode(path, frames, fps, h264(crf))


def encode(
    path: str | Path, frames: Iterable[np.ndarray], fps: float, codec: Codec, comment: str = ""
) -> None:
    """Write frames, an array or iterable of uint8 (H, W, 3), as a video, with a comment in its
    metadata.

    Colors are those of BT.709, and tagged so. Odd sizes are padded by repeating the edge. The same
    frames give the same bytes. The file is written completely or not at all. Raises ValueError for
    other arrays, and without any.
    """
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None or first.ndim != 3 or first.shape[-1] != 3 or first.dtype != np.uint8:
        found = "none" if first is None else f"{first.dtype} {first.shape}"
        raise ValueError(f"frames must be uint8 (H, W, 3), got {found}")
    height, width = first.shape[:2]
    room = ((0, height % 2), (0, width % 2), (0, 0))
    with write_aside(path) as tmp:
        options = codec.container_options | {"fflags": "+bitexact"}
        with av.open(f"file:{tmp}", "w", format=codec.container, container_options=options) as file:
            stream: Any = file.add_stream(codec.name, rate=Fraction(fps).limit_denominator(1001))
            if comment:
                file.metadata["comment"] = comment
            stream.height, stream.width = height + height % 2, width + width % 2
            stream.pix_fmt, stream.options = "yuv420p", codec.options
            _tag_bt709(stream.codec_context)
            # One thread and no encoder banner: the bytes do not depend on machine or build
            stream.codec_context.thread_count = 1
            stream.codec_context.flags |= av.codec.context.Flags.bitexact
            for picture in chain([first], pictures):
                whole = np.ascontiguousarray(np.pad(picture, room, mode="edge"))
                frame = av.VideoFrame.from_ndarray(whole, format="rgb24")
                file.mux(stream.encode(_in_bt709(frame)))
            file.mux(stream.encode())


def contact_sheet(
    path: str | Path,
    rows: Sequence[tuple[str, np.ndarray]],
    columns: int = COLUMNS,
    cell: int = 160,
    made: Made | None = None,
) -> None:
    """Write a PNG with one labeled row for each (label, frames uint8 (F, H, W, 3)).

    A row shows up to `columns` frames, evenly spread over the clip, each `cell` pixels high.
    made: what the metadata says of the origin.
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
    own = png_texts(made)
    own.add_text("Software", SHEET)
    with write_aside(path) as tmp:
        # A tenth larger, four times as fast
        sheet.save(tmp, format="PNG", compress_level=3, pnginfo=own)
        if made is not None:
            complete(tmp, made)
    messages.picture(Path(path))


def is_contact_sheet(path: Path, made: Made) -> bool:
    """Whether a file was written by `contact_sheet`, by the same command."""
    try:
        with Image.open(path) as picture:
            told = picture.info
            own = f"({made.command})" in str(told.get("Comment"))
            return own and told.get("Software") == SHEET
    except (OSError, ValueError, Image.DecompressionBombError):
        return False


def sheet_frames(count: int, columns: int = COLUMNS) -> np.ndarray:
    """Indices of the frames that a contact sheet shows of a clip of `count` frames."""
    return np.linspace(0, count - 1, min(columns, count)).round().astype(int)


def _tag_bt709(encoder: av.VideoCodecContext) -> None:
    encoder.colorspace = encoder.color_primaries = encoder.color_trc = 1
    encoder.color_range = ColorRange.MPEG


def _in_bt709(frame: av.VideoFrame) -> av.VideoFrame:
    """RGB to yuv420p of BT.709 in limited range."""
    return frame.reformat(
        format="yuv420p", interpolation=EXACT, dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG, dst_color_trc=1, dst_color_primaries=1,
    )  # fmt: skip
