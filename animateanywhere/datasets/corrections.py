"""What hands changed in a subject folder, so that the next run keeps it and says so.

`made.json` records the digest of each artefact as the program made it; what differs from that is
by hand. A correction belongs to a frame by the frame's pixels, so it survives another scene or
class word, and a cut of the clip.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from animateanywhere.core.errors import UsageError
from animateanywhere.datasets.subject import Subject, masks_to_uint8, read_captions, read_picture
from animateanywhere.pose.skeleton import read_poses

KINDS = ("frame", "mask", "pose", "caption")
FILE = "made.json"
Digests = dict[str, str]  # digest by kind; "is" names the frame itself


class Corrections(NamedTuple):
    """What a folder holds of hands: values by kind and by the frame they belong to."""

    digests: list[Digests]
    values: dict[str, dict[str, np.ndarray | str]]
    missing: list[str]  # files that are gone, to be made anew


def frame_digests(subject: Subject) -> list[Digests]:
    """What `made.json` keeps of each frame."""
    seen: Counter[str] = Counter()
    out = []
    for frame, mask, pose, caption in zip(
        subject.frames,
        masks_to_uint8(subject.masks),
        subject.keypoints,
        subject.captions,
        strict=True,
    ):
        record = dict(zip(KINDS, map(_digest, (frame, mask, pose, caption)), strict=True))
        # A still moment repeats its pixels: there the frames count
        record["is"] = f"{record['frame']}-{seen[record['frame']]}"
        seen[record["frame"]] += 1
        out.append(record)
    return out


def write_digests(folder: Path, digests: list[Digests], corrected: dict[str, list[int]]) -> None:
    """Write made.json; marks: which frames are by hand, by kind."""
    text = json.dumps({"frames": digests, "by_hand": corrected}, indent=1)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read_digests(folder: Path) -> dict[str, Any]:
    """made.json: "frames", a record each, and "by_hand", frames by kind.

    Raises:
        UsageError: it is damaged, so nobody knows what is by hand.
    """
    path = folder / FILE
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
        keys = (*KINDS, "is")
        whole = all(isinstance(record[key], str) for record in notes["frames"] for key in keys)
        whole = whole and all(isinstance(notes["by_hand"][kind], list) for kind in KINDS)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise UsageError(
            f"{path}: damaged; it tells what was corrected by hand. Put it back, or give another "
            "--out"
        )
    return dict(notes)


def find_corrections(folder: Path) -> Corrections:
    """Compare a folder with its `made.json`; a folder without has no corrections.

    Raises:
        UsageError: a file is damaged; it is named, since a hand may have been at work in it.
    """
    made = read_digests(folder)["frames"] if (folder / FILE).is_file() else []
    found = Corrections(made, {kind: {} for kind in KINDS}, [])
    for index, record in enumerate(made):
        for kind, mode in (("frame", "RGB"), ("mask", "L")):
            path = folder / f"{kind}s" / f"{index:04}.png"
            if path.is_file():
                _compare(found, record, kind, read_picture(path, mode))
            else:
                found.missing.append(path.name)
    poses, captions = folder / "poses.json", folder / "captions.jsonl"
    for kind, path, read in (("pose", poses, _poses), ("caption", captions, read_captions)):
        rows: Sequence[np.ndarray | str] = read(path) if path.is_file() else []
        if rows and len(rows) != len(made):
            raise UsageError(
                f"{path}: {len(rows)} {kind}s for {len(made)} frames; mend it, or delete it to "
                "have it made anew"
            )
        if made and not rows:
            found.missing.append(path.name)
        for record, row in zip(made, rows, strict=False):
            _compare(found, record, kind, row)
    return found


def corrected_frames(found: Corrections, digests: list[Digests]) -> dict[str, list[int]]:
    """By kind, which of the frames of `made` have a correction."""
    return {kind: [index for index, record in enumerate(digests) if record["is"] in values]
            for kind, values in found.values.items()}  # fmt: skip


def apply_corrections(subject: Subject, made: list[Digests], found: Corrections) -> Subject:
    """The subject, of records `made`, with corrections put in.

    Raises:
        UsageError: a correction finds no frame of its own here, or has another size.
    """
    if not any(found.values.values()):
        return subject
    names = [record["is"] for record in made]
    lost = sum(name not in names for values in found.values.values() for name in values)
    if lost:
        raise UsageError(
            f"{subject.folder}: holds {lost} corrections by hand, of frames that these settings do "
            "not make; give another --out, or delete the folder"
        )
    frames, masks = subject.frames.copy(), masks_to_uint8(subject.masks)
    keypoints, captions = subject.keypoints.copy(), list(subject.captions)
    targets: tuple[Any, ...] = (frames, masks, keypoints, captions)
    for kind, rows in zip(KINDS, targets, strict=True):
        for name, value in found.values[kind].items():
            index = names.index(name)
            if np.shape(value) != np.shape(rows[index]):
                raise UsageError(
                    f"{subject.folder / f'{kind}s' / f'{index:04}.png'}: "
                    f"not {frames.shape[2]} x {frames.shape[1]} pixels, as all the others"
                )
            rows[index] = value
    return replace(subject, frames=frames, masks=masks.astype(np.float32) / 255,
                   keypoints=keypoints, captions=captions)  # fmt: skip


def _compare(found: Corrections, record: Digests, kind: str, value: np.ndarray | str) -> None:
    if _digest(value) != record.get(kind):
        found.values[kind][record["is"]] = value


def _poses(path: Path) -> list[np.ndarray]:
    return list(read_poses(path).keypoints)


def _digest(value: np.ndarray | str) -> str:
    if isinstance(value, str):
        data = value.encode()
    elif value.dtype == np.uint8:
        data = value.tobytes()
    else:  # keypoints, as exact as poses.json writes them; + 0.0 since -0.0 has other bytes
        data = (np.round(value.astype(np.float64), 3) + 0.0).tobytes()
    return hashlib.blake2b(data, digest_size=12).hexdigest()
