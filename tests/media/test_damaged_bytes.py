"""Bytes of clips changed at random: frames or one UsageError, in little time and memory."""

import resource
import time
from pathlib import Path

import pytest

from animateanywhere.media import video
from tests.cli.test_fuzz import survive
from tests.media.clips import animation, encode, moving_square


@pytest.mark.parametrize("kind", ["mp4", "mov", "webm", "mkv", "avi", "gif", "png", "webp"])
def test_damaged_bytes(kind: str, tmp_path: Path) -> None:
    path, frames = tmp_path / f"clip.{kind}", moving_square(6, 32, 48)
    if kind in ("gif", "png", "webp"):
        animation(path, frames, {"gif": "GIF", "png": "PNG", "webp": "WEBP"}[kind])
    else:
        codec = {"webm": "libvpx-vp9", "avi": "mpeg4", "mov": "mjpeg"}.get(kind, "libx264")
        encode(path, frames, codec, "yuvj420p" if codec == "mjpeg" else "yuv420p")
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    survive(path, lambda file: video.read(file, max_frames=64, fps=8), 60)
    assert time.monotonic() - begun < 60
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # kB
    assert more < 700_000
