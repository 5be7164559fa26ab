"""A subject folder: one person's clip with masks, poses and captions, which may be corrected.

subject.toml     class word, scene, fps, size, backends, source and its hash
frames/0000.png  RGB        masks/0000.png  gray, 255 the person
poses.json       OpenPose-18 keypoints        captions.jsonl  one {"frame", "caption"} a line
contact.png      overview of frames, masks and skeletons; report.html shows all
made.json        digests of the above as the program wrote it, see `corrections`
"""

from __future__ import annotations

import hashlib
import json
import tomllib
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from animateanywhere.core.errors import UsageError
from animateanywhere.core.frame_size import Size
from animateanywhere.core.json_file import parse_json
from animateanywhere.media.video import contact_sheet
from animateanywhere.pose.skeleton import Poses, draw, read_poses, write_poses

# What users put beside these is kept
FILES = frozenset(
    """frames masks poses.json captions.jsonl subject.toml contact.png report.html made.json
    findings.json""".split()
)


@dataclass(frozen=True)
class Subject:
    """One person's clip as prepared by `aa prepare`: N frames of one size."""

    folder: Path
    frames: np.ndarray  # (N, H, W, 3) uint8
    masks: np.ndarray  # (N, H, W) float32 in [0, 1]
    keypoints: np.ndarray  # (N, 18, 3) float32: x, y in pixels, confidence
    captions: list[str]  # one for each frame; the person is "<token> <class_word>"
    fps: float
    class_word: str
    scene: str | None

    @property
    def size(self) -> Size:
        return Size(self.frames.shape[2], self.frames.shape[1])

    def digest(self) -> str:
        """SHA-256 of its frames and masks, 64 hex digits: what a person is learned from."""
        return hashlib.sha256(self.frames.tobytes() + self.masks.tobytes()).hexdigest()

    def take(self, frames: Sequence[int]) -> Subject:
        """The subject with these frames only."""
        some = list(frames)
        return replace(
            self, frames=self.frames[some], masks=self.masks[some], keypoints=self.keypoints[some],
            captions=[self.captions[i] for i in some],
        )  # fmt: skip


def write_subject(
    subject: Subject,
    folder: Path,
    about: Mapping[str, str | int | float],
    filled: np.ndarray | None = None,
) -> None:
    """Write a subject into an empty folder.

    about: further keys of subject.toml, such as the source and the settings. filled: bool (F, 18),
    keypoints that were interpolated.
    """
    height, width = subject.frames.shape[1:3]
    jobs = []
    for name, pictures in (("frames", subject.frames), ("masks", masks_to_uint8(subject.masks))):
        (folder / name).mkdir()
        jobs += [(folder / name / f"{index:04}.png", one) for index, one in enumerate(pictures)]

    with ThreadPoolExecutor(2) as pool:  # Pillow releases the GIL while it compresses
        list(pool.map(save_picture, *zip(*jobs, strict=True)))
    poses = Poses(subject.keypoints, width, height, subject.fps, filled)
    write_poses(folder / "poses.json", poses)
    (folder / "captions.jsonl").write_text(captions_text(subject.captions), encoding="utf-8")
    facts = {"class_word": subject.class_word, "scene": subject.scene or "", **about}
    # A JSON string is a TOML string
    rows = [f"{key} = {json.dumps(fact, ensure_ascii=False)}" for key, fact in facts.items()]
    (folder / "subject.toml").write_text("\n".join(rows) + "\n", encoding="utf-8")
    contact_sheet(folder / "contact.png", _contact_rows(subject))


def save_picture(path: Path, pixels: np.ndarray) -> None:
    """Write a frame or a mask, uint8, as PNG."""
    # Run-length encoding only: faster, and photographs become no larger
    Image.fromarray(pixels).save(path, compress_level=1, compress_type=zlib.Z_RLE)


def captions_text(captions: Sequence[str]) -> str:
    """Captions as the text of captions.jsonl."""
    lines = [
        json.dumps({"frame": index, "caption": caption}, ensure_ascii=False)
        for index, caption in enumerate(captions)
    ]
    return "\n".join(lines) + "\n"


def read_settings(folder: Path) -> dict[str, str | int | float]:
    """The contents of subject.toml; empty if it is missing or damaged."""
    try:
        return tomllib.loads((folder / "subject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}


def is_prepared(path: Path) -> bool:
    """Whether a path is a subject folder, and not a video or a folder of pictures."""
    return path.is_dir() and (path / "subject.toml").is_file()


def read_subject(folder: str | Path) -> Subject:
    """Read a subject folder, including manual corrections.

    Raises:
        UsageError: a file is missing or damaged, or the files differ in number or size.
    """
    folder = Path(folder)
    about = read_settings(folder)
    if "class_word" not in about:
        raise UsageError(f"{folder}: not a subject folder (subject.toml is missing or damaged)")
    frames = _read_pictures(folder / "frames", "RGB")
    masks = _read_pictures(folder / "masks", "L")
    poses = read_poses(folder / "poses.json")
    captions = read_captions(folder / "captions.jsonl")
    counts = {len(frames), len(masks), len(poses.keypoints), len(captions)}
    if len(counts) > 1 or frames.shape[:3] != masks.shape:
        raise UsageError(
            f"{folder}: {len(frames)} frames, {len(masks)} masks, {len(poses.keypoints)} poses and "
            f"{len(captions)} captions differ in number or size; run `aa prepare` again"
        )
    if (poses.width, poses.height) != frames.shape[2:0:-1]:
        raise UsageError(
            f"{folder}: poses.json is of pictures of {poses.width} x {poses.height} pixels, and "
            f"the frames have {frames.shape[2]} x {frames.shape[1]}: scale its joints to these"
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


def masks_to_uint8(masks: np.ndarray) -> np.ndarray:
    """Masks in 0..1 as uint8 in 0..255, as in their files."""
    return (masks * 255 + 0.5).astype(np.uint8)


def overlay_skeletons(frames: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Skeletons drawn over dimmed frames, uint8 (F, H, W, 3)."""
    drawn = draw(keypoints, *frames.shape[1:3])
    return np.where(drawn.max(-1, keepdims=True) > 40, drawn, frames // 2 + 64)


def _contact_rows(subject: Subject) -> list[tuple[str, np.ndarray]]:
    """The rows of the contact sheet, of at most eight frames."""
    count = len(subject.frames)
    shown = np.linspace(0, count - 1, min(8, count)).round().astype(int)
    frames, masks = subject.frames[shown], subject.masks[shown, ..., None]
    cut = frames * masks + 255 * (1 - masks)
    return [
        (f"frames: {subject.captions[0]}", frames),
        ("mask: learned as the person", cut.astype(np.uint8)),
        ("pose", overlay_skeletons(frames, subject.keypoints[shown])),
    ]


def read_picture(path: Path, mode: str) -> np.ndarray:
    """A PNG file as uint8, mode "RGB" (H, W, 3) or "L" (H, W). Raises UsageError if damaged."""
    try:
        return np.array(Image.open(path).convert(mode))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: a damaged PNG file ({error}); replace or delete it") from None


def read_captions(path: Path) -> list[str]:
    """The captions of captions.jsonl. Raises UsageError if it is missing or damaged."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        captions = [str(parse_json(line)["caption"]) for line in lines if line.strip()]
        "".join(captions).encode()  # JSON can hold what no text file can
        return captions
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: missing, or a line contains no caption ({error})") from None


def _read_pictures(folder: Path, mode: str) -> np.ndarray:
    files = sorted(folder.glob("*.png"))
    if not files:
        raise UsageError(f"{folder}: no PNG files; run `aa prepare` again")
    pictures = [read_picture(file, mode) for file in files]
    if len({one.shape for one in pictures}) > 1:
        raise UsageError(f"{folder}: pictures of different sizes; run `aa prepare` again")
    return np.stack(pictures)
