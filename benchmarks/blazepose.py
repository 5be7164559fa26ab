"""BlazePose as run here against MediaPipe 0.10.21 itself, on real clips and photographs.

    .venv/bin/python benchmarks/blazepose.py FOLDER --mediapipe /path/to/python

`--mediapipe` is a Python in which MediaPipe 0.10.21 is installed: 3.12 at most. From each file
under FOLDER up to 12 frames are compared; prints landmarks' distances, masks' intersection over
union and our processor time as a Markdown table.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from animateanywhere.media import video
from animateanywhere.media.pictures import PICTURE_SUFFIXES
from animateanywhere.preprocessing import model_files
from animateanywhere.preprocessing.pose.blazepose.networks import BlazePose
from animateanywhere.preprocessing.pose.blazepose.region import around_person

SUFFIXES = {".mp4", ".mov", ".webm", *PICTURE_SUFFIXES}
FRAMES = 12
# Arrays of frames by name in one file, landmarks and masks in another; NaN where nobody is found
REFERENCE = """
import sys
import numpy as np
from mediapipe.python.solutions.pose import Pose
out = {}
with Pose(static_image_mode=True, model_complexity=1, enable_segmentation=True) as pose:
    for name, frames in np.load(sys.argv[1]).items():
        points = np.full((len(frames), 33, 4), np.nan)
        masks = np.zeros(frames.shape[:3], np.float32)
        for index, frame in enumerate(frames):
            found = pose.process(frame)
            if found.pose_landmarks:
                marks = found.pose_landmarks.landmark
                points[index] = [(p.x, p.y, p.z, p.visibility) for p in marks]
                masks[index] = found.segmentation_mask
        out[name + ".points"], out[name + ".masks"] = points, masks
np.savez(sys.argv[2], **out)
"""


class Agreement(NamedTuple):
    """Of the frames of one clip: distances in pixels (N, 33), visibility (N, 33), mask IoU (N,)."""

    distances: np.ndarray
    visibilities: np.ndarray  # absolute differences
    ious: np.ndarray
    frames_of_one_only: int  # in which only one of the two finds a person
    seconds: float  # of processor time for a frame


def agreement(python: str, clips: dict[str, np.ndarray]) -> dict[str, Agreement]:
    """Compare both on frames uint8 (F, H, W, 3) by name. python: one with MediaPipe 0.10.21."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "frames.npz", Path(folder) / "reference.npz"
        np.savez(given, **clips)
        subprocess.run([python, "-c", REFERENCE, given, made], check=True, capture_output=True)
        with np.load(made) as reference:
            return {
                name: _compare(frames, reference[f"{name}.points"], reference[f"{name}.masks"])
                for name, frames in clips.items()
            }


def _compare(frames: np.ndarray, points: np.ndarray, masks: np.ndarray) -> Agreement:
    networks = BlazePose(*model_files.require())
    size = frames.shape[2:0:-1]
    distances, visibilities, ious, different = [], [], [], 0
    begun = time.process_time()
    results = []
    for frame in frames:
        found = networks.detect(frame).points[:1]
        results.append(
            networks.landmarks(frame, around_person(*found[0, :2])) if len(found) else None
        )
    seconds = (time.process_time() - begun) / len(frames)
    for person, expected, mask in zip(results, points, masks, strict=True):
        if person is None or np.isnan(expected).any():
            different += (person is None) != np.isnan(expected).any()
            continue
        distances.append(np.hypot(*((person.points - expected)[:, :2] * size).T))
        visibilities.append(np.abs(person.points[:, 3] - expected[:, 3]))
        ours, theirs = person.mask > 0.5, mask > 0.5
        ious.append((ours & theirs).sum() / max((ours | theirs).sum(), 1))
    return Agreement(
        np.array(distances), np.array(visibilities), np.array(ious), different, seconds
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mediapipe", required=True, help="a Python with MediaPipe 0.10.21")
    options = parser.parse_args()
    files = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    clips = {}
    for path in files:
        frames = video.read(path, max_frames=64, fps=8).frames
        chosen = np.linspace(0, len(frames) - 1, min(len(frames), FRAMES)).astype(int)
        clips[path.stem] = frames[chosen]
    found = agreement(options.mediapipe, clips)
    print(
        "| clip | frames with a person | median px | 95 % | largest | lowest IoU | ms of a core |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, one in found.items():
        row = f"| {name} | {len(one.ious)}"
        row += f" ({one.frames_of_one_only} by one only)" if one.frames_of_one_only else ""
        if len(one.ious):
            median, most = np.median(one.distances), np.quantile(one.distances, 0.95)
            row += (
                f" | {median:.3f} | {most:.2f} | {one.distances.max():.2f} | {one.ious.min():.4f}"
            )
        else:
            row += " | | | | "
        print(f"{row} | {1000 * one.seconds:.0f} |")
    every = np.concatenate([one.distances.ravel() for one in found.values()])
    ious = np.concatenate([one.ious for one in found.values()])
    print(f"| all | {len(ious)} | {np.median(every):.3f} | {np.quantile(every, 0.95):.2f} "
          f"| {every.max():.2f} | {ious.min():.4f} (mean {ious.mean():.4f}) | |")  # fmt: skip


if __name__ == "__main__":
    main()
