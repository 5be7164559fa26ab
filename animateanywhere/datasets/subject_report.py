"""`report.html` of a subject folder: mask, keypoints and caption of each frame on one page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from animateanywhere.core.files import write_aside
from animateanywhere.core.paths import ASSETS
from animateanywhere.datasets.subject import Subject
from animateanywhere.pose.keypoints import COLORS, KEYPOINTS, LIMBS, VISIBLE

TEMPLATE = ASSETS / "report.html.j2"
SHOWN = 256  # pixels a side at most
DIM = 190  # opacity, of 255, of the black outside the mask


class Curve(NamedTuple):
    """A value over the clip: its name, its range as text, and SVG points in 0..F x 0..1, where y 1
    is the value 0 and y near 0 the largest value."""

    name: str
    range: str
    points: str


def write_report(
    path: Path,
    subject: Subject,
    about: Mapping[str, Any],
    findings: Sequence[tuple[str, str, str]],
    corrected: Mapping[str, list[int]],
    filled: np.ndarray,
) -> None:
    """Write the page.

    about: contents of subject.toml. findings: level, name and text of each. corrected: indices of
    manually corrected frames by kind. filled: bool (F, 18), interpolated keypoints.
    """
    from jinja2 import Environment

    with ThreadPoolExecutor(2) as pool:  # Pillow releases the GIL while it compresses
        rows = range(len(filled))
        frames = list(pool.map(lambda row: _frame(subject, row, filled[row], corrected), rows))
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    text = page.render(
        about=about,
        subject=subject,
        size=subject.size,
        findings=findings,
        corrected={kind: where for kind, where in corrected.items() if where},
        curves=_curves(subject),
        captions=len(set(subject.captions)),
        frames=frames,
    )
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def _frame(
    subject: Subject, index: int, filled: np.ndarray, corrected: Mapping[str, list[int]]
) -> dict[str, Any]:
    """The template's values of one frame."""
    pose = subject.keypoints[index]
    visible = pose[:, 2] >= VISIBLE
    limbs = [
        (*pose[a, :2].tolist(), *pose[b, :2].tolist(), _rgb(color))
        for (a, b), color in zip(LIMBS, COLORS, strict=False)
        if visible[a] and visible[b]
    ]
    joints = [
        (*pose[joint, :2].tolist(), _rgb(COLORS[joint]), KEYPOINTS[joint],
         float(pose[joint, 2]), bool(filled[joint]))
        for joint in np.flatnonzero(visible)
    ]  # fmt: skip
    outside = ((1 - subject.masks[index]) * DIM).astype(np.uint8)
    shade = Image.merge("LA", (Image.new("L", outside.shape[::-1]), Image.fromarray(outside)))
    return {
        "index": index,
        "picture": _data_url(Image.fromarray(subject.frames[index]), "JPEG"),
        "shade": _data_url(shade, "PNG"),
        "limbs": limbs,
        "joints": joints,
        "filled": int((filled & visible).sum()),
        "hidden": int((~visible).sum()),
        "corrected": [kind for kind, frames in corrected.items() if index in frames],
        "caption": subject.captions[index],
    }


def _curves(subject: Subject) -> list[Curve]:
    shown = subject.keypoints[..., 2] >= VISIBLE
    confidence = subject.keypoints[..., 2].clip(0, 1).mean(1)
    area = subject.masks.mean((1, 2))
    rows = np.where(shown, subject.keypoints[..., 1], np.nan)
    height = np.zeros(len(rows))
    some = shown.any(1)
    height[some] = np.nanmax(rows[some], 1) - np.nanmin(rows[some], 1)
    named = {
        "mean keypoint confidence": confidence,
        "mask area": area,
        "height of the person": height / subject.frames.shape[1],
    }
    return [
        Curve(name, f"{values.min():.0%} to {values.max():.0%}", _points(values))
        for name, values in named.items()
    ]


def _points(values: np.ndarray) -> str:
    """SVG points with a step for each frame, so that a single frame gives a line too."""
    heights = 1 - 0.95 * values / max(values.max(), 1e-6)
    return " ".join(f"{x},{y:.3f}" for index, y in enumerate(heights) for x in (index, index + 1))


def _rgb(color: np.ndarray) -> str:
    return "rgb({},{},{})".format(*color)


def _data_url(picture: Image.Image, kind: str) -> str:
    picture.thumbnail((SHOWN, SHOWN))
    file = io.BytesIO()
    picture.save(file, kind, quality=85, compress_level=1)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
