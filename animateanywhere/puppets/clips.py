"""Writing of puppet clips with their ground truth beside them, for `aa puppets`."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from animateanywhere.core.files import write_aside
from animateanywhere.core.messages import picture, progress
from animateanywhere.puppets.caption import caption
from animateanywhere.puppets.render import Clip, render
from animateanywhere.puppets.sample import sample_spec

FPS = 8.0
_SHEET_ROWS = 12
_STRIDE = 100_003  # number of clips for each seed


def write_clips(
    out: Path,
    clips: int,
    seed: int = 0,
    split: str = "train",
    frames: int = 16,
    size: int = 128,
    *,
    encode: Callable[[Path, np.ndarray, float], None],
    device: str = "cpu",
) -> list[Path]:
    """Render clips into the folder `out` and return the videos' paths.

    Each clip is NAME.mp4 (8 frames a second, by `encode(path, frames uint8 (F, H, W, 3), fps)`),
    NAME.masks.npz (`masks` uint8 coverage and `parts` uint8 labels, both (F, H, W)),
    NAME.poses.json (OpenPose-18, pixels) and NAME.txt (four captions, one per line);
    `contact_sheet.png` shows the first clips. The video is written last, so that it never exists
    without its ground truth. Raises ValueError for an unknown split, Failure on a full disk.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    rows: list[np.ndarray] = []
    with progress("rendering clips", total=clips) as bar:
        for index in range(clips):
            spec = sample_spec(seed * _STRIDE + index, split)
            clip = render(spec, frames=frames, size=size, fps=FPS, device=device)
            path = out / f"clip{index:05d}.mp4"
            _write_truth(path, clip)
            encode(path, clip.frames, FPS)
            paths.append(path)
            if len(rows) < _SHEET_ROWS:
                rows.append(clip.frames)
            bar.advance(1)
    write_sheet(out / "contact_sheet.png", rows)
    return paths


def _write_truth(path: Path, clip: Clip) -> None:
    with write_aside(path.with_suffix(".masks.npz")) as tmp:
        np.savez_compressed(tmp, masks=clip.masks, parts=clip.parts)
    height, width = clip.masks.shape[1:]
    keypoints = [[[round(float(v), 3) for v in point] for point in pose] for pose in clip.keypoints]
    poses = {
        "format": "openpose18",
        "width": width,
        "height": height,
        "fps": FPS,
        "keypoints": keypoints,
    }
    with write_aside(path.with_suffix(".poses.json")) as tmp:
        tmp.write_text(json.dumps(poses) + "\n", encoding="utf-8")
    lines = [caption(clip.spec, seed=clip.spec.seed + k) for k in range(4)]
    with write_aside(path.with_suffix(".txt")) as tmp:
        tmp.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_sheet(path: Path, rows: list[np.ndarray], columns: int = 8) -> None:
    """Write a PNG with a row of up to `columns` frames, evenly spread, for each uint8 clip."""
    count = min(columns, min(len(row) for row in rows))
    strips = [
        np.concatenate(list(row[np.linspace(0, len(row) - 1, count).round().astype(int)]), axis=1)
        for row in rows
    ]
    with write_aside(path) as tmp:
        Image.fromarray(np.concatenate(strips)).save(tmp, format="PNG")
    picture(path)
