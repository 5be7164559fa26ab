"""Whether a codec works here: a few frames are encoded and decoded again."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import av
import numpy as np

FRAMES, SIDE = 3, 64


class Codec(NamedTuple):
    """A format of videos or sound."""

    name: str
    decoder: str
    encoders: tuple[str, ...]  # the first one that is there is tried
    container: str
    needed: bool  # without it, commands fail


CODECS = (
    Codec("H.264", "h264", ("libx264", "h264_videotoolbox", "libopenh264"), "mp4", True),
    Codec("AAC", "aac", ("aac",), "mp4", True),
    Codec("VP9", "vp9", ("libvpx-vp9",), "webm", False),
    Codec("Opus", "opus", ("libopus",), "webm", False),
    Codec("HEVC", "hevc", ("libx265", "hevc_videotoolbox"), "mp4", False),
    Codec("AV1", "av1", ("libsvtav1", "libaom-av1", "librav1e"), "mp4", False),
)


def try_codec(codec: Codec) -> str | None:
    """What is wrong with a codec; None where frames came back from it."""
    there = [name for name in codec.encoders if name in av.codecs_available]
    if codec.decoder not in av.codecs_available:
        return "no decoder"
    if not there:
        return "no encoder, and so the decoder was not tried"
    file = io.BytesIO()
    os.environ.setdefault("SVT_LOG", "1")  # errors only
    try:
        with same_priority(), av.open(file, "w", format=codec.container) as target:
            _encode(target, there[0])
        file.seek(0)
        with av.open(file, "r") as source:
            stream = source.streams[0]
            count = len(list(source.decode(stream)))
            kind = stream.codec_context.codec.canonical_name
    except (av.error.FFmpegError, ValueError, OSError) as error:
        return f"{there[0]} fails: {' '.join(str(error).split())}"
    if kind != codec.decoder or not count:
        return f"{there[0]} fails: {count} frames came back"
    return None


@contextmanager
def same_priority() -> Iterator[None]:
    """This thread keeps its scheduling: for root, SVT-AV1 makes it real-time, before all others."""
    if not hasattr(os, "sched_setscheduler"):  # not Linux
        yield
        return
    policy, level = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, level)


def _encode(target: Any, encoder: str) -> None:
    if av.Codec(encoder, "w").type == "audio":
        stream = target.add_stream(encoder, rate=48000)
        stream.layout = "mono"
        for number in range(FRAMES):
            wave = np.zeros((1, 960), np.float32)
            frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            frame.sample_rate, frame.pts = 48000, 960 * number
            target.mux(stream.encode(frame))
    else:
        stream = target.add_stream(encoder, rate=8)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        if encoder == "libx265":  # it prints its settings to the terminal
            stream.options = {"x265-params": "log-level=none"}
        for number in range(FRAMES):
            picture = np.full((SIDE, SIDE, 3), 60 * number, np.uint8)
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    target.mux(stream.encode())
