"""Prepared clips on the page, and their corrections, written to the files that `aa prepare` writes
and `aa personalize` reads (`datasets.subject`, `datasets.corrections`)."""

from __future__ import annotations

import hashlib
import io
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from animateanywhere.core.errors import Failure, UsageError
from animateanywhere.core.files import write_aside
from animateanywhere.core.findings import read_findings, verdict
from animateanywhere.core.run_folder import is_running, owned
from animateanywhere.datasets.corrections import (
    corrected_frames,
    find_corrections,
    is_corrected,
)
from animateanywhere.datasets.subject import (
    captions_text,
    read_captions,
    read_picture,
    read_settings,
    save_picture,
)
from animateanywhere.pose.keypoints import COLORS, KEYPOINTS, LIMBS, VISIBLE
from animateanywhere.pose.skeleton import (
    Poses,
    parse_poses,
    poses_text,
    read_poses,
    write_poses,
)
from animateanywhere.studio.place import Place, Unknown
from animateanywhere.studio.scenes import is_part, run_of

LARGEST_MASK = 2**24  # bytes of a PNG
LONGEST = 400  # letters of a caption


class Newer(Exception):
    """What a correction replaces is not what its page had loaded any more."""


def is_subject(folder: Path) -> bool:
    """Whether a folder is a prepared clip."""
    return (folder / "subject.toml").is_file()


def subject_of(place: Place, name: str) -> Path:
    """The folder of a subject by the id of its clip, by that of the run of a learned person, or by
    its own where pages know it otherwise, as a part of a scene. Raises Unknown."""
    folder = place.file("subjects", name)
    if not is_subject(folder):
        folder = place.path_of(name)
    if not is_subject(folder):
        folder = folder / "subject"
    if not is_subject(folder) or not all(map(place.holds, (folder, *folder.iterdir()))):
        raise Unknown(name)
    return folder


def show(folder: Path) -> dict[str, Any]:
    """All that the page shows of a subject, without its pictures. Raises UsageError where files
    are damaged."""
    poses, findings = read_poses(folder / "poses.json"), read_findings(folder)
    captions = read_captions(folder / "captions.jsonl")
    filled = poses.filled if poses.filled is not None else np.zeros(poses.keypoints.shape[:2], bool)
    found = find_corrections(folder)
    return {
        "count": len(poses.keypoints), "width": poses.width, "height": poses.height,
        "class_word": read_settings(folder).get("class_word"),
        "keypoints": np.round(poses.keypoints.astype(float), 3).tolist(),  # as in the file
        "filled": np.argwhere(filled).tolist(),
        "captions": captions, "verdict": verdict(findings),
        "versions": {"pose": [_pose_version(poses, i) for i in range(len(poses.keypoints))],
                     "caption": [_version(one.encode()) for one in captions]},
        "findings": [finding._asdict() for finding in findings],
        "corrected": corrected_frames(found, found.digests), **SKELETON,
    }  # fmt: skip


SKELETON = {"limbs": [list(limb) for limb in LIMBS], "names": list(KEYPOINTS),
            "colors": COLORS.tolist(), "visible": VISIBLE}  # fmt: skip


def picture(folder: Path, kind: str, frame: int) -> Path:
    """The file of a frame or its mask. Raises Unknown."""
    path = folder / kind / f"{frame:04}.png"
    if (
        kind not in ("frames", "masks")
        or not path.is_file()
        or not path.resolve().is_relative_to(folder.resolve())
    ):
        raise Unknown(str(frame))
    return path


def mask(folder: Path, frame: int) -> tuple[bytes, str]:
    """The PNG file of a mask and its version. Raises Unknown."""
    png = picture(folder, "masks", frame).read_bytes()
    return png, _version(png)


def set_mask(folder: Path, frame: int, png: bytes, version: str) -> dict[str, Any]:
    """Replace a mask by a picture: white is the person. version: of the mask that the page had
    loaded. Returns whether it is corrected, other than as found, and its new version.

    Raises Newer where the mask has another version; UsageError for another size, or what is no PNG
    file; Failure where the disk is full or a command works in the folder.
    """
    path = picture(folder, "masks", frame)
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as given:
            size, wanted = given.size, read_picture(path, "L").shape[::-1]
            if size != wanted:
                raise UsageError(f"the mask has {size[0]} x {size[1]} pixels, the frame "
                                 f"{wanted[0]} x {wanted[1]}")  # fmt: skip
            pixels = np.array(given.convert("L"))
    except UnidentifiedImageError:
        raise UsageError("not a PNG file of a mask") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"not a PNG file of a mask ({error})") from None
    with _editing(folder):
        _require_version(mask(folder, frame)[1], version)
        with write_aside(path) as aside:
            save_picture(aside, pixels)
        saved = mask(folder, frame)[1]
    return {"corrected": is_corrected(folder, frame, "mask", pixels), "version": saved}


def set_pose(
    folder: Path, frame: int, version: Any, pose: Any, filled: Any = None
) -> dict[str, Any]:
    """Replace the keypoints of a frame, 18 of x, y in pixels and confidence. filled: the indices of
    those that are interpolated; without, those that were moved no longer are. Else as `set_mask`.
    """
    path = folder / "poses.json"
    with _editing(folder):
        poses = read_poses(path)
        if not 0 <= frame < len(poses.keypoints):
            raise Unknown(str(frame))
        _require_version(_pose_version(poses, frame), version)
        try:
            with np.errstate(over="ignore"):  # infinity, which is refused below
                given = np.array(pose, dtype=np.float32)
        except (TypeError, ValueError, OverflowError):
            given = np.zeros(0, np.float32)
        if given.shape != poses.keypoints.shape[1:]:
            raise UsageError("a pose is 18 keypoints of x, y and confidence")
        changed = (given != poses.keypoints[frame]).any(-1)
        poses.keypoints[frame] = given
        if poses.filled is not None and filled is not None:
            if not isinstance(filled, list) or any(one not in range(len(given)) for one in filled):
                raise UsageError("filled: the numbers of keypoints")
            poses.filled[frame] = np.isin(np.arange(len(given)), filled)
        elif poses.filled is not None:  # it was placed, no longer interpolated
            poses.filled[frame] &= ~changed
        # As it will be read again, if it can be
        read = parse_poses(poses_text(poses).encode(), "the pose")
        write_poses(path, poses)
    corrected = is_corrected(folder, frame, "pose", given)
    return {"corrected": corrected, "version": _pose_version(read, frame)}


def set_caption(folder: Path, frames: list[int], versions: list[Any], caption: str) -> str:
    """Replace the captions of frames; versions: one for each. Returns the new version, which is the
    same for all. Raises as `set_mask`, and for a caption without <token>."""
    path, words = folder / "captions.jsonl", " ".join(caption.split())
    if "<token>" not in words:
        raise UsageError("a caption names the person by <token>, as in: a <token> man in a room")
    if len(words) > LONGEST:
        raise UsageError(f"a caption has at most {LONGEST} letters")
    with _editing(folder):
        captions = read_captions(path)
        if any(not 0 <= frame < len(captions) for frame in frames):
            raise Unknown(str(frames))
        for frame, version in zip(frames, versions, strict=True):
            _require_version(_version(captions[frame].encode()), version)
        for frame in frames:
            captions[frame] = words
        with write_aside(path) as aside:
            aside.write_text(captions_text(captions), encoding="utf-8")
    return _version(words.encode())


def _version(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def _pose_version(poses: Poses, frame: int) -> str:
    """The version of the pose of a frame, with what of it is interpolated."""
    filled = b"" if poses.filled is None else poses.filled[frame].tobytes()
    return _version(poses.keypoints[frame].tobytes() + filled)


def _require_version(there: str, loaded: Any) -> None:
    """Raise Newer where what is there is not what a page had loaded."""
    if loaded != there:
        raise Newer


def forget(place: Place, name: str) -> None:
    """Delete the subject of an upload. Raises Unknown; Failure where a command works in it."""
    folder = place.file("subjects", name)
    if not is_subject(folder):
        raise Unknown(name)
    with _editing(folder):
        shutil.rmtree(folder)
        for left in folder.parent.glob(f"{name}[.-]*"):  # of `aa check`
            left.unlink()


EDITS = threading.Lock()  # of several tabs: they wait for each other


@contextmanager
def _editing(folder: Path) -> Iterator[None]:
    """No command works in the folder meanwhile, nor in the run around it: Failure if one does."""
    if is_running(folder.parent):
        raise Failure(
            f"{folder.parent.name} is in use: a command works in it; wait until it has ended"
        )
    if is_part(folder):
        own = owned(run_of(folder), "swap", ends=False)  # it may have been stopped, and goes on
    else:
        own = owned(folder, "prepare", is_subject, ends=False)
    with EDITS, own:
        yield
