"""What an uploaded file is, by its content, in a process of its own: a damaged one may end it.

    python -m animateanywhere.studio.look FILE STRIP

prints a JSON object, and writes a strip of the frames, a JPEG, or prints one line on stderr with
what is wrong and ends with exit code 2.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.messages import quietly
from animateanywhere.media import container, pictures, video
from animateanywhere.media.source import Part
from animateanywhere.pose.skeleton import read_all_poses

SHOWN, HEIGHT = 48, 144  # frames of a strip, and their height in pixels
LONGEST = 120.0  # seconds that are looked at
RATE = 8.0  # frames per second of a strip at most
SUFFIXES = {"mov,mp4,m4a,3gp,3g2,mj2": ".mp4", "matroska,webm": ".webm", "avi": ".avi"}


def look(path: Path, strip: Path) -> dict[str, Any]:
    """The facts of a file: kind ("video", "picture" or "poses"), suffix, seconds, fps, size, and
    count and width of the frames in the strip. Raises UsageError for what can be neither learned
    nor followed."""
    if _is_json(path):
        poses = read_all_poses(path)
        return {"kind": "poses", "suffix": ".json", "seconds": len(poses.keypoints) / poses.fps,
                "fps": poses.fps, "width": poses.width, "height": poses.height}  # fmt: skip
    with quietly():
        first = video.read_first(path)
        whole = first.length or _length(path)
        length = min(whole or LONGEST, LONGEST)
        rate = min(RATE, SHOWN / max(length, 0.1), first.source_fps)
        seen = video.read(path, SHOWN, rate, size=4 * HEIGHT, part=Part())
    width = _write(strip, seen.frames)
    height, across = first.frames.shape[1:3]
    seconds = whole or len(seen.frames) / rate
    still = pictures.is_picture(path) and len(seen.frames) == 1
    return {
        "kind": "picture" if still else "video", "suffix": _suffix(path), "seconds": seconds,
        "fps": first.source_fps, "width": across, "height": height, "strip": len(seen.frames),
        "strip_fps": rate, "strip_width": width, "strip_height": HEIGHT,
    }  # fmt: skip


def _length(path: Path) -> float | None:
    """Seconds up to the end of the last frame, of a video that does not tell, as browsers record
    them; None where that is not known either."""
    if pictures.is_picture(path):
        return None
    with container.open_container(path) as file:
        ends = [
            float((packet.pts + (packet.duration or 0)) * packet.time_base)
            for packet in file.demux(file.streams.video[0])
            if packet.pts is not None and packet.time_base is not None
        ]
    return max(ends, default=None)


def _is_json(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def _suffix(path: Path) -> str:
    """The suffix of the file's kind, whatever it was called."""
    if pictures.is_picture(path):
        with Image.open(path) as picture:
            return f".{(picture.format or 'png').lower()}"
    with container.open_container(path) as file:
        return SUFFIXES.get(file.format.name, ".mkv")


def _write(strip: Path, frames: np.ndarray) -> int:
    """Write frames side by side; returns the width of one."""
    width = max(round(frames.shape[2] * HEIGHT / frames.shape[1]), 1)
    sheet = Image.new("RGB", (width * len(frames), HEIGHT))
    for number, frame in enumerate(frames):
        picture = Image.fromarray(frame).resize((width, HEIGHT), Image.Resampling.LANCZOS)
        sheet.paste(picture, (number * width, 0))
    with write_aside(strip) as aside:
        sheet.save(aside, "JPEG", quality=82)
    return width


def main() -> int:
    path, strip = map(Path, sys.argv[1:3])
    try:
        print(json.dumps(look(path, strip)))
    except UsageError as error:
        # The name is one of the server's, which says nothing to people
        print(str(error).removeprefix(f"{path}: ").replace(f" '{path}'", ""), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
