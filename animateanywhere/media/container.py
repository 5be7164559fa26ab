"""Video files: opening, the stream to read, its orientation, and bytes that are missing."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer

from animateanywhere.core.errors import UsageError
from animateanywhere.media.mp4_boxes import impossible_count
from animateanywhere.media.source import Source

MAX_PIXELS = 2**26  # of a frame, 8192 x 8192; a header may say anything
BOXES = set(b"ftyp styp moov mdat moof mfra sidx ssix free skip wide uuid meta udta pdin".split())
# FFmpeg's own leave out the alpha, and of VP9 show damaged frames without a word
LIBVPX = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def open_container(path: Path) -> InputContainer:
    """Open a video file; nothing but files is read, whatever a playlist names.

    Raises:
        UsageError: it is a text file, or no video file, or its index is missing.
    """
    if _is_text(path):  # ffmpeg would draw it, or fetch what a playlist names
        raise UsageError(f"{path}: a text file, not a video or picture")
    if (count := impossible_count(path)) is not None:
        raise UsageError(
            f"{path}: damaged: a fragment announces {count} frames, more than it can hold; copy or "
            "record it again"
        )
    # file: so that a colon does not start a protocol; titles may have any encoding
    try:
        container = av.open(
            f"file:{path}", "r", metadata_errors="replace", options={"protocol_whitelist": "file"}
        )
    except (av.error.FFmpegError, ValueError) as error:
        if missing_bytes(path):
            raise UsageError(
                f"{path}: truncated, and the index at its end is missing; copy or record it again"
            ) from None
        raise UsageError(unreadable(path, error)) from None
    if container.format.name == "tty":  # text of an old encoding, drawn as by a terminal
        container.close()
        raise UsageError(f"{path}: a text file, not a video or picture")
    return container


def _is_text(path: Path) -> bool:
    with open(path, "rb") as file:
        head = file.read(4096)
    try:
        text = head.decode()
    except UnicodeDecodeError as error:  # a character may be cut off
        text = head[: error.start].decode() if error.start > len(head) - 4 else "\0"
    return all(letter.isprintable() or letter in "\n\r\t\f\ufeff" for letter in text)


def unreadable(path: Path, error: Exception) -> str:
    """What an error of FFmpeg means to a user."""
    reason = getattr(error, "strerror", None) or type(error).__name__
    return (
        f"{path}: cannot be read as a video ({reason}); it is truncated, damaged or not a "
        "video file"
    )


def choose_stream(
    container: InputContainer, path: Path, source: Source | None = None
) -> av.VideoStream:
    """The video stream to read: no cover picture, the default one, else the largest.

    source: takes a note where there are several.

    Raises:
        UsageError: there is none, or none that can be decoded.
    """
    kinds = av.stream.Disposition
    covers = kinds.attached_pic | kinds.timed_thumbnails
    streams = [s for s in container.streams.video if not s.disposition & covers]
    if not streams:
        found = "only sound" if container.streams.audio else "no video"
        raise UsageError(f"{path}: contains {found}; give a file with a video stream")
    known = [s for s in streams if s.codec_context is not None and s.width and s.height]
    if not known:
        raise UsageError(
            f"{path}: its video is damaged, or encoded in a way that cannot be decoded here; "
            "convert it to H.264"
        )
    defaults = [s for s in known if s.disposition & kinds.default] or known
    chosen = max(defaults, key=lambda s: (s.width * s.height, -s.index))
    if chosen.width * chosen.height > MAX_PIXELS:
        raise UsageError(
            f"{path}: frames of {chosen.width} x {chosen.height} pixels are too large; "
            "scale the video down"
        )
    if len(streams) > 1 and source is not None:
        source.note(
            f"{len(streams)} video streams: number {streams.index(chosen) + 1} is read, "
            f"{chosen.width} x {chosen.height}"
        )
    return chosen


def decoder_of(stream: av.VideoStream) -> av.VideoCodecContext:
    """The decoder of a stream: its own, or one that also decodes the alpha of VP8 and VP9, and
    finds the damaged frames of VP9."""
    decoder = stream.codec_context
    own = decoder
    name = LIBVPX.get(own.name)
    # Some builds of libvpx lack more than 8 bits; the rotation of an MP4 reaches only FFmpeg's own
    deep = own.format is not None and own.format.components[0].bits > 8
    webm = stream.container.format.name.startswith("matroska")
    finds_damage = name == "libvpx-vp9" and webm and not deep
    if name in av.codecs_available and (finds_damage or has_alpha_layer(stream)):
        decoder = cast(av.VideoCodecContext, av.CodecContext.create(name, "r"))
        decoder.extradata = own.extradata
        decoder.color_primaries, decoder.color_trc = own.color_primaries, own.color_trc
    decoder.thread_type = "AUTO"
    decoder.options = {"max_pixels": str(MAX_PIXELS)}
    return decoder


def has_alpha_layer(stream: av.VideoStream) -> bool:
    """Whether a WebM stream says that alpha is coded beside it."""
    return any(
        key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items()
    )


def is_turned(matrix: bytes | None) -> bool:
    """Whether a display matrix, as of `upright`, exchanges width and height."""
    if matrix is None or len(matrix) < 36:
        return False
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    return bool(abs(a) + abs(d) < abs(b) + abs(c))


def upright(pixels: np.ndarray, matrix: bytes | None) -> np.ndarray:
    """Turn and mirror (H, W, C) as a display matrix of a container says; None: as it is.

    matrix: nine 32-bit integers (a, b, u, c, d, v, x, y, w) of ISO 14496-12, which move a point to
    (a x + c y, b x + d y).
    """
    if matrix is None or len(matrix) < 36:
        return pixels
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if is_turned(matrix):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def missing_bytes(path: Path) -> int:
    """Number of bytes that an MP4, MOV, AVI, WebM or MKV file announces, and that are not there."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:4] == b"RIFF":
            length = int.from_bytes(head[4:8], "little")
            return max(8 + length - size, 0) if length < 2**32 - 1 else 0
        if head[:4] == b"\x1a\x45\xdf\xa3":
            return max(_matroska_end(head) - size, 0)
        place = 0
        while place + 8 <= size:  # the boxes, one after the other
            file.seek(place)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8 or head[4:8] not in BOXES:  # 0: to the end of the file
                return 0
            place += length
        return max(place - size, 0)


def _matroska_end(head: bytes) -> int:
    """Where the segment of a Matroska file ends, by its first bytes; 0: unknown."""
    place = 4
    length, place = _vint(head, place)
    place += length
    if head[place : place + 4] != b"\x18\x53\x80\x67":
        return 0
    length, place = _vint(head, place + 4)
    return place + length if length >= 0 else 0


def _vint(data: bytes, place: int) -> tuple[int, int]:
    """A number of variable length of EBML, -1 for unknown, and the place after it."""
    first = data[place] if place < len(data) else 0
    count = 9 - first.bit_length()
    if not first or place + count > len(data):
        return -1, place
    value = int.from_bytes(data[place : place + count], "big") - (1 << (7 * count))
    return (-1 if value == (1 << (7 * count)) - 1 else value), place + count
