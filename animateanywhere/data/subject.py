"""A subject folder: one person's clip with masks, poses and captions, all open to correction.

subject.toml     class word, scene, fps, size, backends, source and its hash
frames/0000.png  RGB        masks/0000.png  gray, 255 the person
poses.json       OpenPose-18 keypoints        captions.jsonl  one {"frame", "caption"} a line
contact.png      frames, masks and skeletons to look at
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from animateanywhere.batch import Subject
from animateanywhere.data.skeleton import Poses, draw, read_poses, write_poses
from animateanywhere.data.video import contact_sheet
from animateanywhere.errors import UsageError
from animateanywhere.files import folder_aside


def write_subject(subject: Subject, about: Mapping[str, str | int | float]) -> Subject:
    """Write a subject to its folder, whole or not at all, and return it as it reads back.

    about: further keys of subject.toml, such as the source and the settings.
    """
    height, width = subject.frames.shape[1:3]
    with folder_aside(subject.folder) as folder:
        for name, pictures in (
            ("frames", subject.frames),
            ("masks", (subject.masks * 255 + 0.5).astype(np.uint8)),
        ):
            (folder / name).mkdir()
            for index, picture in enumerate(pictures):
                Image.fromarray(picture).save(folder / name / f"{index:04}.png")
        write_poses(folder / "poses.json", Poses(subject.keypoints, width, height, subject.fps))
        lines = [
            json.dumps({"frame": index, "caption": caption}, ensure_ascii=False)
            for index, caption in enumerate(subject.captions)
        ]
        (folder / "captions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        facts = {"class_word": subject.class_word, "scene": subject.scene or "", **about}
        # A JSON string is a TOML string
        rows = [f"{key} = {json.dumps(fact, ensure_ascii=False)}" for key, fact in facts.items()]
        (folder / "subject.toml").write_text("\n".join(rows) + "\n", encoding="utf-8")
        contact_sheet(folder / "contact.png", _rows(subject))
    return read_subject(subject.folder)


def read_about(folder: Path) -> dict[str, str | int | float]:
    """subject.toml; empty where there is none that can be read."""
    try:
        return tomllib.loads((folder / "subject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def read_subject(folder: str | Path) -> Subject:
    """Read a subject folder, also one corrected by hand.

    Raises:
        UsageError: a file is missing or damaged, or numbers or sizes of files do not match.
    """
    folder = Path(folder)
    about = read_about(folder)
    if "class_word" not in about:
        raise UsageError(f"{folder}: no subject folder (subject.toml is missing or damaged)")
    frames = _pictures(folder / "frames", "RGB")
    masks = _pictures(folder / "masks", "L")
    poses = read_poses(folder / "poses.json")
    captions = _captions(folder / "captions.jsonl")
    counts = {len(frames), len(masks), len(poses.keypoints), len(captions)}
    if len(counts) > 1 or frames.shape[:3] != masks.shape:
        raise UsageError(
            f"{folder}: {len(frames)} frames, {len(masks)} masks, {len(poses.keypoints)} poses and "
            f"{len(captions)} captions of one size are expected; run `aa prepare` again"
        )
    return Subject(
        folder=folder,
        frames=frames,
        masks=masks.astype(np.float32) / 255,
        keypoints=poses.keypoints,
        captions=captions,
        fps=poses.fps,
        class_word=str(about["class_word"]),
        scene=str(about.get("scene") or "") or None,
    )


def overlay(frames: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Skeletons laid over frames, uint8 (F, H, W, 3)."""
    drawn = draw(keypoints, *frames.shape[1:3])
    return np.where(drawn.max(-1, keepdims=True) > 40, drawn, frames // 2 + 64)


def _rows(subject: Subject) -> list[tuple[str, np.ndarray]]:
    cut = subject.frames * subject.masks[..., None] + 255 * (1 - subject.masks[..., None])
    return [
        (f"frames: {subject.captions[0]}", subject.frames),
        ("mask: what is learned as the person", cut.astype(np.uint8)),
        ("pose", overlay(subject.frames, subject.keypoints)),
    ]


def _pictures(folder: Path, mode: str) -> np.ndarray:
    files = sorted(folder.glob("*.png"))
    if not files:
        raise UsageError(f"{folder}: no PNG files; run `aa prepare` again")
    try:
        pictures = [np.array(Image.open(file).convert(mode)) for file in files]
    except (UnidentifiedImageError, OSError) as error:
        raise UsageError(f"{folder}: a damaged PNG file ({error})") from None
    if len({picture.shape for picture in pictures}) > 1:
        raise UsageError(f"{folder}: pictures of different sizes; run `aa prepare` again")
    return np.stack(pictures)


def _captions(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [str(json.loads(line)["caption"]) for line in lines if line.strip()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: missing, or a line holds no caption ({error})") from None
