"""The files of a sample, as bytes: the last step."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from animateanywhere.datasets.shards import Sample
from animateanywhere.datasets.subject import masks_to_uint8
from animateanywhere.media import video
from animateanywhere.pose.skeleton import Poses, poses_text
from animateanywhere.preprocessing.quality.clip import EMPTY

CLIP_CRF, MASK_CRF = 17, 12  # of H.264: the outline of a mask has no detail to hide errors
JPEG_QUALITY = 95


class Row(NamedTuple):
    """What a sample shows: frames uint8 (F, H, W, 3), one of a picture; keypoints float32 (F, 18,
    3) in their pixels; bool (F, 18), which of them are interpolated; masks float32 (F, H, W) in
    0..1 or None; captions; reference pictures uint8 (H, W, 3 or 4); frames per second."""

    key: str
    frames: np.ndarray
    keypoints: np.ndarray
    filled: np.ndarray
    masks: np.ndarray | None
    captions: Sequence[str]
    references: Sequence[np.ndarray]
    fps: float


def to_sample(row: Row, about: Mapping[str, Any]) -> Sample:
    """Encode a sample; the same row gives the same bytes.

    about: further entries of its meta.json, with `license` and `source`. Masks that show nobody are
    left out, and the notes of `about` say so.
    """
    count, height, width = row.frames.shape[:3]
    moving = count > 1
    meta = {"width": width, "height": height, "frames": count, "fps": row.fps if moving else 0.0,
            **about}  # fmt: skip
    files = {
        "pose.json": poses_text(Poses(row.keypoints, width, height, row.fps, row.filled)).encode(),
        "caption.txt": "".join(f"{text}\n" for text in row.captions).encode(),
    }
    if moving:
        files["clip.mp4"] = _video(row.frames, row.fps, CLIP_CRF)
    else:
        files["image.jpg"] = picture_bytes(
            row.frames[0], "JPEG", quality=JPEG_QUALITY, subsampling=0
        )
    if row.masks is not None and (row.masks.mean((1, 2)) < EMPTY).mean() > 0.5:
        meta["notes"] = [*meta.get("notes", []), "no mask: the person's outline was not found"]
    elif row.masks is not None:
        gray = masks_to_uint8(row.masks)
        files |= (
            {"mask.mp4": _video(gray[..., None].repeat(3, -1), row.fps, MASK_CRF)} if moving
            else {"mask.png": picture_bytes(gray[0], "PNG")}
        )  # fmt: skip
    for number, picture in enumerate(row.references):
        files[f"reference{number}.png"] = picture_bytes(picture, "PNG")
    files["meta.json"] = (json.dumps(meta, indent=1) + "\n").encode()
    return Sample(row.key, files)


def _video(frames: np.ndarray, fps: float, crf: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        video.write(path, frames, fps, crf)
        return path.read_bytes()


def picture_bytes(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    """A picture uint8 (H, W) or (H, W, 3 or 4) as a file of a format of Pillow's; the same picture
    gives the same bytes."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()
